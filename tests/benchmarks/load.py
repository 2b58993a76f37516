"""The load that all candidates share."""

BODY = b'{"order": "' + b"x" * 1011 + b'"}'  # 1 KiB
WEBHOOKS = 100
CONCURRENCY = 100
BULKS = (100, 1000)  # deliveries or events in one request
