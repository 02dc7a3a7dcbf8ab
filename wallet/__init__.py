"""The owner's command: a device's wallet over chain and key file alone. No service is asked, so it works when the service is gone."""
