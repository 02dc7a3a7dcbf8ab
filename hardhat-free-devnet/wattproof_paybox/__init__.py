"""A payment provider's sandbox on this machine: payments, refunds, disputes, payouts and signed webhooks, no money.

It speaks the part of Stripe's API that a rail of the service uses, by Stripe's documentation (docs.stripe.com/api, /webhooks/signature):
form-encoded requests, `Authorization: Bearer`, `Idempotency-Key`, amounts in minor units, events signed by `Stripe-Signature`.
Nothing here is ours: it imports none of the product.
"""
