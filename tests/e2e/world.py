"""A Tuesday morning: webhooks in every state, for the screenshots and the checks of screens."""

import random
from datetime import timedelta

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import transaction
from django.utils import timezone

from tests.certificates import identity
from tests.factories import (
    AccountFactory,
    AttemptFactory,
    DeliveryFactory,
    HourlyCountFactory,
    WebhookFactory,
    WorkerFactory,
)
from webhooks_app import __version__, actions
from webhooks_app.engine import transitions
from webhooks_app.models import (
    AccessToken,
    Account,
    Attempt,
    AuditEntry,
    Delivery,
    HourlyCount,
    HourlyLag,
    Job,
    Subscription,
    Webhook,
    WebhookHealth,
)
from webhooks_app.models.audit import SENT, Actor
from webhooks_app.models.health import hour_of
from webhooks_app.rules import oauth

PASSWORD = "secret-of-the-tests"
REFUSED = ("refused", "connect ECONNREFUSED 93.184.216.34:443")
EXPIRED = ("tls_expired", "certificate has expired")
MOVED = "Fraud check"
LONG = "Lagerbestand & Versandbestätigung → Größe 😀 sehr langer Name sehr langer Name"


class World:
    """Everything in it hangs on `now`; the same numbers each time."""

    def __init__(self) -> None:
        self.now = timezone.now()
        self.chance = random.Random(4)
        self.attempts: list[Attempt] = []
        self.counts: list[HourlyCount] = []
        with transaction.atomic():
            self.build()

    def ago(self, minutes: float):
        return self.now - timedelta(minutes=minutes)

    def build(self) -> None:
        self.mira = get_user_model().objects.create_superuser("mira", "", PASSWORD)
        names = ("acme-logistics", "northwind", "shop-prod", "blumenladen-koeln", "playground")
        self.accounts = {name: AccountFactory(name=name) for name in names}
        later = self.now + timedelta(hours=1)  # alive as long as anybody looks
        for place, sent in enumerate((48_210, 47_902), 1):
            began = {"started_at": self.ago(60 * 31), "version": __version__, "pid": 4691}
            host = f"app-{place}"
            WorkerFactory(host=host, seen_at=later, in_flight=4, sent=sent, slots=32, **began)
        self.failing()
        self.unsteady()
        self.working()
        self.quiet()
        self.ordered()
        self.published()
        self.history()
        self.finished()
        self.grown()

    def grown(self) -> None:
        """What was made just now is weeks old, and what staff did is spread over the morning."""
        weeks = self.ago(60 * 24 * 40)
        for model in (Account, AccessToken, Webhook):
            model.objects.update(created_at=weeks)
        Webhook.objects.update(updated_at=weeks)
        Subscription.objects.update(valid_from=weeks)
        Webhook.objects.filter(verified_at__isnull=False).update(verified_at=weeks)
        for place, entry in enumerate(AuditEntry.objects.all()):
            minutes = 60 * 24 * 6 if "→" in entry.action else 2 + 17 * place
            AuditEntry.objects.filter(pk=entry.pk).update(at=self.ago(minutes))

    def webhook(self, name, account, host, **more):
        url = f"https://{host}/hooks/v2"
        return WebhookFactory(name=name, account=self.accounts[account], url=url, **more)

    def trouble(self, kind, message, minutes, in_row, since=None, **more):
        return {
            "last_error_at": self.ago(minutes),
            "last_error_kind": kind,
            "last_error_message": message,
            "last_attempt_at": self.ago(minutes),
            "failures_in_row": in_row,
            "failing_since": since and self.ago(since),
            **more,
        }

    def calls(self, webhook, most, failed=lambda hour: 0):
        """Two days of calls, more by day than by night."""
        for hour in range(48):
            bad = failed(hour)
            usual = most * (1 - abs(hour % 24 - 8) / 16) * self.chance.uniform(0.8, 1.1)
            good = int(usual / 4 if bad >= 8 else usual)
            made = HourlyCountFactory.build(
                webhook=webhook,
                at=self.ago(60 * hour),
                delivered=good,
                failed=bad,
                ms_50=good // 3,
                ms_100=good // 2,
                ms_500=good - good // 3 - good // 2,
            )
            self.counts.append(made)

    def failing(self) -> None:
        self.crm = self.webhook(
            "CRM sync (nightly + live)",
            "northwind",
            "crm.northwind.example",
            health=self.trouble(*EXPIRED, 2, 96, 642, last_success_at=self.ago(643)),
        )
        self.calls(self.crm, 40, lambda hour: 9 if hour < 10 else 0)
        self.orders = self.webhook(
            "Orders to ERP",
            "acme-logistics",
            "erp.acme-logistics.example",
            token="tok",
            auth_username="acme-hook",
            auth_password="pass",
            headers=[("X-Api-Key", "k"), ("X-Tenant", "eu"), ("X-Source", "chatbot")],
            health=self.trouble(*REFUSED, 1, 60, 90, last_success_at=self.ago(91)),
        )
        self.calls(self.orders, 60, lambda hour: 30 if hour < 2 else 0)
        tickets = self.trouble("timeout", "timeout of 10000ms exceeded", 0, 12, 37)
        self.tickets = self.webhook(
            "Ticket mirror", "shop-prod", "support-mirror.shop.example:8443", health=tickets
        )
        self.calls(self.tickets, 20, lambda hour: 8 if hour < 1 else 0)
        stock = self.trouble("http_502", "Request failed with status code 503", 11, 20, 30)
        stock["breaker_until"] = self.now + timedelta(minutes=45)
        host = "a-very-long-subdomain.of-a-host.blumenladen-koeln.example"
        self.stock = self.webhook(LONG, "blumenladen-koeln", host, health=stock)
        self.calls(self.stock, 25, lambda hour: 10 if hour < 1 else 0)
        refused = self.trouble("v_401", "Request failed with status code 401", 60 * 18, 0)
        self.returns = self.webhook(
            "Returns portal", "shop-prod", "returns.shop.example", verified_at=None, health=refused
        )

    def outage(self) -> None:
        """A host that takes no call of four customers any more, since a quarter of an hour."""
        message = "Request failed with status code 503"
        self.helpdesk = "helpdesk.example"
        self.attempts, self.counts = [], []
        for place, (name, account) in enumerate(self.accounts.items()):
            if name == "playground":
                continue
            account.contact_email = f"ops@{name}.example" if place % 2 else ""
            account.save()
            trouble = self.trouble("http_502", message, 1 + place, 14, 18 + place / 60)
            webhook = self.webhook(f"Tickets of {name}", name, self.helpdesk, health=trouble)
            if place:
                until = self.now + timedelta(minutes=4)
                WebhookHealth.objects.filter(pk=webhook.pk).update(breaker_until=until)
            error = ("http_502", message, 503)
            for number in range(3 + place):
                self.sent(webhook, 1 + 2 * number + place, *error, type="ticket.changed")
            for number in range(4 * (place < 2)):
                ended = {"state": "failed", "tries": 8, "finished_at": self.ago(3)}
                self.sent(webhook, 60 * 28 + number, *error, type="ticket.changed", **ended)
            self.calls(webhook, 8, lambda hour: 6 if hour < 1 else 0)
        Attempt.objects.bulk_create(sorted(self.attempts, key=lambda made: made.ended_at))
        HourlyCount.objects.bulk_create(self.counts)
        for hours, seconds in ((1, 2.0), (5, 41.0)):
            at = self.ago(60 * hours)
            HourlyLag.objects.create(hour=hour_of(at), seconds=seconds, at=at)
        AuditEntry.objects.note("the worker", f"{SENT}Webhook Tickets is failing", webhook)
        due = Delivery.objects.filter(state="pending", due_at__lte=timezone.now())
        due.update(due_at=self.now + timedelta(hours=1))  # nothing is late, however long one looks
        self.held_up()
        note = "Their status page: status.helpdesk.example. Ada at their desk answers by chat."
        actions.add_note(self.helpdesk, note, by="mira")

    def unsteady(self) -> None:
        names = (
            ("Cancellations to billing", "shop-prod"),
            ("Warehouse scanner feed", "acme-logistics"),
            ("متجر الزهور", "blumenladen-koeln"),
        )
        self.unsteady_ones = []
        for place, (name, account) in enumerate(names):
            message = "Request failed with status code 500"
            health = self.trouble("http_500", message, 11 + 10 * place, 1, 11)
            webhook = self.webhook(name, account, f"in{place}.example.com", health=health)
            self.calls(webhook, 40, lambda hour: self.chance.choice([0, 0, 0, 2]))
            self.unsteady_ones.append(webhook)

    def working(self) -> None:
        names = (
            ("Analytics sink", "northwind"),
            ("Chat transcripts", "shop-prod"),
            ("Fraud check", "shop-prod"),
            ("Slack notifications", "acme-logistics"),
        )
        self.working_ones = []
        for place, (name, account) in enumerate(names):
            health = {"last_success_at": self.ago(1), "last_attempt_at": self.ago(1)}
            if not place:
                health["certificate_ends_at"] = self.now + timedelta(days=9, hours=4)
            host = "risk.shop.example" if name == MOVED else f"ok{place}.example.com"
            webhook = self.webhook(name, account, host, health=health)
            self.calls(webhook, 20 + 80 * place)
            self.working_ones.append(webhook)
        self.moved()

    def moved(self) -> None:
        """Somebody gave a webhook another host, six days ago."""
        webhook = Webhook.objects.get(name=MOVED)
        mira = Actor("mira", AuditEntry.Door.ADMIN)
        actions.update_webhook(webhook, url="https://ok2.example.com/hooks/v2", by=mira)
        verified = {"verified_at": self.now, "verification_due_at": None}
        Webhook.objects.filter(pk=webhook.pk).update(**verified)

    def quiet(self) -> None:
        missing = "getaddrinfo ENOTFOUND pos.acme-logistics.example"
        self.paused = self.webhook(
            "Old POS bridge",
            "acme-logistics",
            "pos.acme-logistics.example",
            stopped="paused",
            stopped_by="mira",
            stopped_note="shop closed for the move",
            stopped_at=self.ago(60 * 24 * 20),
            health=self.trouble("dns", missing, 60 * 24 * 21, 3),
        )
        gone = self.trouble("gone", "Request failed with status code 410", 60 * 24 * 5, 1)
        self.webhook(
            "Legacy importer",
            "northwind",
            "legacy.northwind.example",
            stopped="gone",
            stopped_at=self.ago(60 * 24 * 5),
            health=gone,
        )
        self.webhook("test 1", "playground", "example.com")

    def ordered(self) -> None:
        """A webhook that sends in order, within limits, with an access token of OAuth."""
        client = {"tokenUrl": "https://login.northwind.example/token", "clientId": "webhooks"}
        self.ledger = self.webhook(
            "Postings to the ledger",
            "northwind",
            "ledger.northwind.example",
            order="key",
            on_dead="stop",
            rate_count=100,
            rate_seconds=60,
            breaker_after=10,
            oauth=oauth.stored({**client, "clientSecret": "secret", "scopes": ["postings"]}),
            identity=identity("webhooks@northwind.example"),
            health=self.trouble(
                *("http_500", "Request failed with status code 500", 3, 2, 9),
                last_success_at=self.ago(12),
            ),
        )
        self.calls(self.ledger, 12, lambda hour: 2 if hour < 1 else 0)
        actions.add_note(self.ledger, "Closes its books on the last day of a month.", by="mira")

    def held_up(self) -> None:
        """The first delivery of a key waits for its next try, others behind it."""
        rows = [
            (self.ledger, {"posting": n}, {"ordering_key": "account 88", "type": "posting.made"})
            for n in range(4)
        ]
        head = actions.deliver_many(rows)[0]
        error = {"last_error": "Request failed with status code 500", "last_status": 500}
        waits = {"tries": 2, "due_at": self.now + timedelta(minutes=4), **error}
        Delivery.objects.filter(pk=head.pk).update(**waits)
        failed = {"kind": "http_500", "status": 500, "message": error["last_error"]}
        for number in (1, 2):
            ended = self.ago(9 - 3 * number)
            AttemptFactory(
                webhook=self.ledger, delivery=head, number=number, ended_at=ended, **failed
            )

    def published(self) -> None:
        """An event of an order that one webhook got, one waits for, and others did not."""
        large = {"total": {"$gte": 100}, "currency": ["EUR", "CHF"]}
        wanted = {
            self.orders: [{"types": ["order.*"], "channels": ["eu"], "filter": large}],
            self.tickets: [{"types": ["order.cancelled"]}],
            self.working_ones[1]: [{"types": ["*"]}],
            self.working_ones[2]: [{"types": ["order.*", "refund.*"], "filter": large}],
            self.unsteady_ones[0]: [{"types": ["invoice.paid"]}],
        }
        for webhook, subscriptions in wanted.items():
            actions.set_subscriptions(webhook, subscriptions, by="mira")
        shop = self.accounts["shop-prod"]
        for name, words in (
            ("order.created", "Somebody ordered."),
            ("order.cancelled", "An order was taken back, by the customer or by us."),
        ):
            actions.declare_event_type(shop, name, group="Orders", description=words, by="mira")
        self.event_type = actions.declare_event_type(
            shop, "order.paid", group="Orders", example={"order": 5120, "total": 49.9}, by="mira"
        )
        for place in range(8):
            actions.publish(
                shop,
                ("order.created", "order.paid", "refund.sent")[place % 3],
                {"order": 5100 + place, "total": 20 * place, "currency": "EUR"},
                reference=f"order {5100 + place}",
                by="shop-prod live",
            )
        self.event = actions.publish(
            shop,
            "order.cancelled",
            {"order": 5120, "total": 49.9, "currency": "EUR", "customer": {"name": "Jörg 😀"}},
            reference="order 5120",
            subject="customer 88",
            channels=["eu"],
            event_id="cancel-5120",
            by="shop-prod live",
        )

    def sent(self, webhook, minutes, kind="", message="", status=None, **more):
        """A delivery of some minutes ago, with its last attempt; without a kind it arrived."""
        made, tries = self.ago(minutes), more.pop("tries", 1)
        ended = made + timedelta(seconds=1)
        state = {} if kind else {"state": "delivered", "finished_at": ended}
        row = DeliveryFactory(
            webhook=webhook,
            created_at=made,
            tries=tries,
            last_error=message,
            last_status=status,
            **{"due_at": self.now + timedelta(minutes=5), **state, **more},
        )
        self.tried(
            webhook=webhook,
            delivery=row,
            number=tries,
            kind=kind,
            message=message,
            status=status,
            ended_at=made if tries == 1 else self.ago(minutes / 8),
            duration_ms=self.chance.randint(40, 240) if status else 3,
        )
        return row

    def tried(self, **more):
        """An attempt, stored with all others in the order of their time."""
        self.attempts.append(AttemptFactory.build(**more))
        return self.attempts[-1]

    def history(self) -> None:
        types = ("order.created", "order.paid", "order.updated.with.a.rather.long.event.type")
        server_error = ("http_500", "Request failed with status code 500", 500)
        for place in range(12):
            self.sent(
                self.orders,
                60 * 26 + place,
                *server_error,
                type="order.updated",
                reference=f"order {4700 + place}",
                state="failed",
                tries=8,
                finished_at=self.ago(60 * 20),
            )
        for place in range(8):
            self.sent(self.orders, 91 + 7 * place, status=200, type=types[place % 3])
        self.proven = self.sent(
            *(self.orders, 94),
            status=200,
            type="order.created",
            reference="order 4698",
            created_by="acme live",
        )
        made = self.proven.created_at
        for name, value in {
            **{"address": "93.184.216.34:443", "tls_version": "TLSv1.3", "duration_ms": 73},
            **{"dns_ms": 2, "connect_ms": 9, "tls_ms": 21, "wait_ms": 40, "read_ms": 1},
            **{"answer": '{"erp_id": "A-99812"}', "ended_at": made + timedelta(milliseconds=480)},
        }.items():
            setattr(self.attempts[-1], name, value)
        for place in range(30):
            due = self.now + timedelta(minutes=1 + place)
            more = {"type": types[place % 3], "tries": 1 + place % 3, "due_at": due}
            self.sent(self.orders, 88 - 2.9 * place, *REFUSED, **more)
        for place, webhook in enumerate((self.crm, self.tickets, self.stock, self.returns)):
            health = webhook.health
            status = {"http_502": 503, "v_401": 401}.get(health.last_error_kind)
            error = (health.last_error_kind, health.last_error_message, status)
            for number in range(3):
                self.sent(webhook, 4 + 5 * number + place, *error, type="sync")
        for number in range(3):
            made = self.ago(60 * 24 * 19 + number)
            DeliveryFactory(webhook=self.paused, type="sync", created_at=made, due_at=made)
        for place, webhook in enumerate(self.unsteady_ones):
            self.sent(webhook, 11 + 10 * place, *server_error, type="order.cancelled")
        for place, webhook in enumerate(self.working_ones):
            for number in range(3):
                self.sent(webhook, 1 + place + 9 * number, status=200, type="message.created")
        kind, message = REFUSED
        made = self.ago(6)
        self.delivery = DeliveryFactory(
            webhook=self.orders,
            type="order.created",
            reference="order 4711",
            created_at=made,
            tries=2,
            due_at=self.now + timedelta(minutes=4),
            last_error=message,
            payload=b'{"order": 4711, "items": [{"sku": "A-1", "count": 2}]}',
            created_by="shop",
        )
        for number in (1, 2):
            self.tried(
                webhook=self.orders,
                delivery=self.delivery,
                number=number,
                kind=kind,
                message=message,
                ended_at=made + timedelta(seconds=5 * number - 4.6),
                duration_ms=2 + 3 * number,
                dns_ms=2,
                connect_ms=3 * number,
                address="93.184.216.34:443",
            )
        for place in range(28):
            number = 34 + place % 2
            self.tried(
                webhook=self.orders,
                exchange="interaction",
                kind=kind,
                message=f"connect ECONNREFUSED 93.184.216.{number}:443",
                ended_at=self.ago(3 * place + 1),
            )
        for place in range(41):
            self.tried(
                webhook=self.orders,
                exchange="interaction",
                kind="http_500",
                status=500,
                message="Request failed with status code 500",
                ended_at=self.ago(60 * 28 + place),
            )
        self.attempt = self.tried(
            webhook=self.orders,
            exchange="interaction",
            kind="http_502",
            status=502,
            message="Request failed with status code 502",
            answer="<html><head><title>502 Bad Gateway</title></head>",
            answer_headers="Content-Type: text/html\nServer: nginx",
            dns_ms=3,
            connect_ms=14,
            tls_ms=22,
            wait_ms=410,
            read_ms=2,
            duration_ms=451,
            address="93.184.216.34:443",
            ended_at=self.ago(60 * 24 * 9),
        )
        kind, message = EXPIRED
        for place in range(90):
            self.tried(
                webhook=self.crm,
                exchange="interaction",
                kind=kind,
                message=message,
                ended_at=self.ago(6 * place),
            )
        HourlyCount.objects.bulk_create(self.counts)
        Attempt.objects.bulk_create(sorted(self.attempts, key=lambda made: made.ended_at))
        self.token, _ = AccessToken.issue(self.accounts["shop-prod"], name="chat bot")
        mira = Actor("mira", AuditEntry.Door.ADMIN)
        for webhook, words in (
            (self.orders, "Sent a test."),
            (self.paused, "Paused."),
            (self.crm, "Sent a verification."),
            (self.tickets, "Created."),
        ):
            AuditEntry.objects.note(mira, words, webhook)

    def finished(self) -> None:
        """A job at its half, one that is done, and a webhook that somebody deleted."""
        words = {"webhook": self.orders.pk, "state": "failed"}
        done, self.job = (actions.create_job("retry", words, by="mira") for _ in range(2))
        failed = self.orders.deliveries.filter(state="failed").order_by("pk")
        ids = list(failed.values_list("pk", flat=True))
        end = {"state": "done", "done": 12, "place": ids[11], "finished_at": self.now}
        Job.objects.filter(pk=done.pk).update(created_at=self.ago(64), **end)
        Job.objects.filter(pk=self.job.pk).update(done=5, skipped=1, place=ids[5])
        transitions.retry_all(ids[:5], by=self.job.signature)
        rows = Delivery.objects.filter(pk__in=ids[:5])
        rows.update(due_at=self.now + timedelta(minutes=5))  # as after a try: nothing is late
        self.deleted = self.webhook("Summer campaign", "northwind", "summer.northwind.example")
        actions.delete_webhook(self.deleted, by="mira")

    def newer(self, count: int) -> None:
        """As many deliveries after all others."""
        DeliveryFactory.create_batch(count, webhook=self.crm, type="contact.merged")

    def idents(self) -> dict[str, str]:
        """What stands for the id in an address, by the part before it."""
        delivery, token = self.delivery.pk, self.token.pk
        return {
            **{"webhook": self.orders.pk, "webhooks": self.orders.pk, "restore": self.deleted.pk},
            **{"delivery": delivery, "deliveries": delivery, "job": self.job.pk},
            **{"event": self.event.pk, "events": self.event.pk},
            **{"eventtype": str(self.event_type.pk), "event-types": self.event_type.name},
            **{"attempt": str(self.attempt.pk), "webhookerror": str(self.attempt.pk)},
            **{"account": str(self.accounts["shop-prod"].pk), "accesstoken": str(token)},
            **{"auditentry": str(AuditEntry.objects.first().pk)},
            **{"host": "crm.northwind.example", "worker": "1"},
            **{"user": str(self.mira.pk), "group": str(Group.objects.first().pk)},
        }

    def screens(self) -> dict[str, str]:
        """The name of each screen and where it is."""
        base = "/admin/webhooks_app"
        lists = {
            "webhooks": "webhook",
            "deliveries": "delivery",
            "errors": "webhookerror",
            "events": "event",
            "event-types": "eventtype",
            "attempts": "attempt",
            "jobs": "job",
            "accounts": "account",
            "tokens": "accesstoken",
            "audit": "auditentry",
        }
        orders = self.orders.pk
        return {
            "home": "/admin/",
            **{name: f"{base}/{model}/" for name, model in lists.items()},
            "webhook": f"{base}/webhook/{orders}/change/",
            "webhook-add": f"{base}/webhook/add/",
            "webhook-delete": f"{base}/webhook/{orders}/delete/",
            "webhook-paused": f"{base}/webhook/{self.paused.pk}/change/",
            "webhook-working-none-found": f"{base}/webhook/?q=nothing+is+called+so",
            "order": f"{base}/webhook/{self.ledger.pk}/change/",
            "history": f"{base}/webhook/{orders}/history/",
            "restore": f"{base}/webhook/{self.deleted.pk}/restore/",
            "job": f"{base}/job/{self.job.pk}/change/",
            "delivery": f"{base}/delivery/{self.delivery.pk}/change/",
            "delivered": f"{base}/delivery/{self.proven.pk}/change/",
            "event": f"{base}/event/{self.event.pk}/change/",
            "event-type": f"{base}/eventtype/{self.event_type.pk}/change/",
            "event-type-add": f"{base}/eventtype/add/",
            "error": f"{base}/webhookerror/{self.attempt.pk}/change/",
            "replay": f"{base}/job/add/?verb=retry&webhook={orders}&state=failed",
            "account": f"{base}/account/{self.accounts['shop-prod'].pk}/change/",
            "host": f"{base}/webhook/host/helpdesk.example/",
            "our-side": f"{base}/worker/",
            "search": f"{base}/webhook/search/?q=4711",
            "token": f"{base}/accesstoken/{self.token.pk}/change/",
            "token-add": f"{base}/accesstoken/add/",
        }
