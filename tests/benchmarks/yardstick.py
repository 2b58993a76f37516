"""`python -m tests.benchmarks.yardstick URL COUNT`: a bare aiohttp + uvloop loop, no database.

What every other figure is compared with: it signs as Standard Webhooks has it and posts the same
bodies, 100 at a time, over one session. Prints the seconds it took.
"""

import asyncio
import base64
import hashlib
import hmac
import sys
import time
import uuid

import aiohttp
import uvloop

from .load import BODY, CONCURRENCY

SECRET = b"a secret of thirty-two bytes.....".ljust(32)


def signed(body):
    ident, now = uuid.uuid4().hex, int(time.time())
    digest = hmac.new(SECRET, f"{ident}.{now}.".encode() + body, hashlib.sha256).digest()
    return {
        "Content-Type": "application/json",
        "webhook-id": ident,
        "webhook-timestamp": str(now),
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }


async def main(url, count):
    left = iter(range(count))
    connector = aiohttp.TCPConnector(limit=CONCURRENCY)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def send():
            for _ in left:
                async with session.post(url, data=BODY, headers=signed(BODY)) as response:
                    assert response.status < 300, await response.text()
                    await response.read()

        started = time.perf_counter()
        await asyncio.gather(*[send() for _ in range(CONCURRENCY)])
        print(time.perf_counter() - started)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
