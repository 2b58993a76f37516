"""How many there are of each, and which of the webhooks are in trouble: by their numbers."""

from dataclasses import dataclass
from itertools import accumulate

DAYS = 30
BUSY = 4  # webhooks, the first ones
MANY = "automation.example"  # a host that a quarter of the webhooks call
QUIET = "quiet.example"  # another one; no delivery waits or was given up there
DOWN = "down.example"  # a host that one in fifty calls, and that nobody answers since last night
DOWN_HOURS = 10
DELAYS = (5, 60, 300, 600, 1200, 1800, 3600)  # seconds, between the tries of what is sent there
OFFSETS = tuple(accumulate(DELAYS, initial=0))
DOWN_TRIES = len(OFFSETS)
DOWN_ERROR = ("refused", None, "connect ECONNREFUSED 192.0.2.7:443")
TYPES = [f"event.{number}" for number in range(12)]
KINDS = (
    ("http_500", 500, "Request failed with status code 500"),
    ("http_500", 500, "Request failed with status code 500"),
    ("http_502", 503, "Request failed with status code 503"),
    ("timeout", None, "timeout of 10000ms exceeded"),
    ("refused", None, "connect ECONNREFUSED 192.0.2.1:443"),
    ("http_401", 401, "Request failed with status code 401"),
    ("dns", None, "getaddrinfo ENOTFOUND receiver.example.com"),
    ("tls_expired", None, "certificate has expired"),
)

# Of the number of a webhook, in SQL.


def is_down(n):
    return f"({n} % 50 = 2 AND {n} > {BUSY})"


def is_quiet(n):
    return f"({n} % 4 = 1 AND {n} % 100 NOT IN (41, 77))"


def by_key(n):
    """Sent in the order of their keys."""
    return f"({n} = 2 OR {n} % 40 = 12)"


def by_webhook(n):
    """Sent as one line."""
    return f"{n} % 400 = 16"


@dataclass(frozen=True)
class Numbers:
    """How many there are of each."""

    webhooks: int
    deliveries: int

    @classmethod
    def of(cls, size):
        return cls(max(400, int(100_000 * size)), max(2000, int(1_000_000 * size)))

    @property
    def accounts(self):
        return max(5, self.webhooks // 500)

    @property
    def events(self):
        return self.deliveries // 10

    @property
    def down(self):
        """Deliveries to DOWN, beside the others."""
        return self.deliveries // 50


def webhook_id(sql, number, start):
    """By number: made one after the other in the 200 days before the history begins."""
    first = (start - 200 * 86400) * 65536
    return f"({sql.hex(f'{first} + {number} * 11000')} || {sql.hex(f'{number} * 2654435761')})"


def webhook_pk(number, start):
    """The same in Python."""
    first = (start - 200 * 86400) * 65536
    return f"{first + number * 11000:012x}{number * 2654435761:012x}"
