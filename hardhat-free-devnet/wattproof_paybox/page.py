"""The pay page: one amount, two buttons, made for a phone. It loads nothing from anywhere and runs no script."""

from __future__ import annotations

from html import escape

from .store import Document

_STYLE = """
body{font:1.1rem/1.5 system-ui,sans-serif;margin:0;background:#eef1f4;color:#17222d}
main{max-width:26rem;margin:0 auto;padding:1.5rem 1rem}
.card{background:#fff;border-radius:.75rem;padding:1.5rem;box-shadow:0 1px 4px #0002}
.amount{font-size:2.4rem;font-weight:700;margin:.25rem 0 1rem}
button{width:100%;min-height:3.2rem;font:inherit;font-weight:600;border:0;border-radius:.5rem;margin-top:.75rem;cursor:pointer}
.pay{background:#12633f;color:#fff}.no{background:#e3e7eb;color:#17222d}.note{color:#51606e;font-size:.95rem}
a{color:#0b4f8a}
"""
SECURITY = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self' http: https:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def page(session: Document, problem: str = "") -> str:
    """The page of a checkout session as it stands."""
    money = f"{session['amount_total'] // 100}.{session['amount_total'] % 100:02} {session['currency'].upper()}"
    paid, open_ = session["payment_status"] == "paid", session["status"] == "open"
    if open_:
        told = f'<p role="alert"><strong>{escape(problem)}</strong></p>' if problem else ""
        body = (
            f'{told}<form method="post"><button class="pay" name="action" value="pay">Pay {escape(money)}</button>'
            '<button class="no" name="action" value="decline">Let the card be declined</button></form>'
        )
    else:
        body = "<p><strong>Paid.</strong> You can close this page.</p>" if paid else "<p><strong>This payment has expired.</strong></p>"
        if paid and session["success_url"]:
            body += f'<p><a href="{escape(session["success_url"], quote=True)}">Back</a></p>'
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<title>Pay {escape(money)}</title><style>{_STYLE}</style></head><body><main><div class="card"><h1>Pay</h1>'
        f'<p class="amount">{escape(money)}</p>{body}<p class="note">Sandbox: no money moves.</p></div></main></body></html>'
    )
