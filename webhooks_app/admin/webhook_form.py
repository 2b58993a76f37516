"""The form of a webhook.

The rules are those of `rules.validators`, asked twice: here for the fields, by the rows of the
headers for theirs, so that every sentence stands where it belongs.
"""

from typing import Any

from .. import actions, conf
from ..models import Webhook
from ..rules import schedules
from ..rules.rates import Rate
from ..rules.validators import webhook_errors
from .account_field import WithAccount
from .credential_fields import WithCredentials
from .secret_fields import ENTER_ANEW, KEPT, AsTyped, SecretField, moved
from .stale import StaleForm

PLAIN = (  # what stands in the form as it is stored
    *("name", "url", "auth_username", "timeout", "max_in_flight", "signature_prefix"),
    *("form", "order", "on_dead", "breaker_after", "breaker_off"),
)
SECRETS = {"token": "token", "password": "auth_password"}  # and the columns behind them


class WebhookForm(WithAccount, WithCredentials, StaleForm):
    """`may_reveal` is set by the admin, on a subclass of the request's own."""

    may_reveal = False
    full = staticmethod(actions.webhooks_problem)

    name = AsTyped(help_text="1 to 1,024 characters.")
    url = AsTyped(label="URL", help_text="Public http or https address, at most 2,048 characters.")
    new_token = SecretField(
        "token",
        clearable=True,
        label="Token",
        help_text="Sent as ?token=… with each call and with the verification.",
    )
    auth_username = AsTyped(
        required=False,
        label="Basic auth: user name",
        help_text="Empty: no basic auth; a stored password goes too.",
    )
    new_password = SecretField("password", clearable=True, label="Basic auth: password")
    rate_limit = AsTyped(
        required=False,
        help_text="Most deliveries that go out, retries too, like 100/minute: 1 to 100,000, and "
        "second, minute or hour. More waits in line and loses no try. Empty: no limit.",
    )
    schedule = AsTyped(required=False, label="Retry schedule")

    class Meta:
        model = Webhook
        fields = ["account", *PLAIN]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.instance.url_before = self.instance.url
        if "timeout" in self.fields:
            sites = f"{conf.settings.timeout:g}"
            words = f"For a whole exchange, 0.1 to 60; empty: the site's own, {sites}."
            self.fields["timeout"].help_text = words
        if "rate_limit" in self.fields:
            self.initial["rate_limit"] = self.instance.rate_limit or ""
            self.initial["schedule"] = schedules.typed(self.instance.delays)
            self.fields["schedule"].help_text = (
                "Seconds to wait after each failure, with commas between, at most 30 of up to 7 "
                f"days; none: one try alone. Empty: the site's own, {self.site_schedule()}. Holds "
                "for deliveries that are made from now on."
            )
        for secret in SECRETS:
            if field := self.fields.get(f"new_{secret}"):
                field.widget.stored = getattr(self.instance, f"{secret}_set", False)
                field.widget.may_reveal = self.may_reveal

    @staticmethod
    def site_schedule() -> str:
        return schedules.typed(list(conf.settings.retry_schedule))

    def mark(self) -> str:
        return str(self.instance.version)

    def validate_constraints(self) -> None:
        """The rules have said it all; the database's own constraints stay its last line."""

    def clean(self) -> dict[str, Any]:
        data = self.cleaned_data
        if not data.get("auth_username") and not data.get("new_password"):
            data["new_password"] = ""
        moves = moved(self.instance, data.get("url", ""))
        self.judge_credentials(moved=moves)
        details = webhook_errors(
            name=data.get("name", ""),
            url=data.get("url", ""),
            token=data.get("new_token") or "",
            headers=(),
            username=data.get("auth_username", ""),
            password=KEPT if self._keeps("password") else data.get("new_password") or "",
            signature_prefix=data.get("signature_prefix", ""),
            has_oauth=bool(data.get("oauth_token_url")),
            has_identity=self.keeps_identity(),
            **conf.settings.url_rules,
        )
        self._read_limits(data)
        if data.get("order") and data["order"] != self.instance.order:
            self._report_older("order")
        signature = details.get("signature", {})
        auth = details.get("auth", {})
        self._report("name", details.get("name"))
        self._report("url", details.get("url"))
        self._report("new_token", details.get("token"))
        self._report("auth_username", auth.get("username"))
        self._report("new_password", auth.get("password"))
        self._report("signature_prefix", signature.get("prefix"))
        self._report("oauth_token_url", details.get("oauth"))
        self._report("new_identity", details.get("identity"))
        if not self.may_reveal and moves:
            for secret in SECRETS:
                if self._keeps(secret):
                    self._report(f"new_{secret}", [ENTER_ANEW])
        self.report_stale()
        return data

    def _read_limits(self, data: dict[str, Any]) -> None:
        """What was typed, as `actions` takes it."""
        try:
            data["schedule"] = schedules.read(data.get("schedule", ""))
        except ValueError as error:
            self._report("schedule", [str(error)])
        data["rate_limit"] = data.get("rate_limit", "").strip() or None
        if data["rate_limit"] is None:
            return
        try:
            rate = Rate.read(data["rate_limit"])
        except ValueError as error:
            self._report("rate_limit", [str(error)])
            return
        if rate != self.instance.rate:
            self._report_older("rate_limit")

    def _report_older(self, field: str) -> None:
        """Where a worker would not keep to it."""
        if older := actions.older_workers():
            words = f"{actions.OlderWorkers.words} ({', '.join(older)})."
            self._report(field, [words])

    def _keeps(self, secret: str) -> bool:
        """Whether there is a stored secret that stays after this form."""
        field = f"new_{secret}"
        return self.fields[field].widget.stored and self.cleaned_data.get(field) is None

    def _report(self, field: str, sentences: list[str] | None) -> None:
        if sentences and field not in self.errors:
            self.add_error(field, sentences)

    def changes(self) -> dict[str, Any]:
        """What `actions.create_webhook` and `update_webhook` are to write, headers aside."""
        changed = [field for field in (*PLAIN, "rate_limit") if field in self.changed_data]
        changes = {field: self.cleaned_data[field] for field in changed}
        if "schedule" in self.changed_data:
            changes["retry_schedule"] = self.cleaned_data["schedule"]
        for secret, column in SECRETS.items():
            new = self.cleaned_data[f"new_{secret}"]
            if new or (new == "" and self.fields[f"new_{secret}"].widget.stored):
                changes[column] = new
        return changes | self.credentials
