"""The load that all candidates share."""

BODY = b'{"order": "' + b"x" * 1011 + b'"}'  # 1 KiB
WEBHOOKS = 100
CONCURRENCY = 100
BULK = 100  # deliveries in one request
