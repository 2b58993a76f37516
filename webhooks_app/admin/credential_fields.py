"""OAuth and client certificate in the form of a webhook. What is stored of them is shown as far as
it is no secret; a mask left in a field keeps what it stands for."""

from collections.abc import Iterator, Mapping
from typing import Any

from django import forms
from django.contrib import admin

from .. import actions
from ..fields import is_stored
from ..models import Webhook
from ..presentation.credentials import certificate_of, client_of, oauth_shown, unmasked
from ..rules import certificates, oauth
from ..rules.validators import MASK
from .secret_fields import ENTER_ANEW, AsTyped, SecretField, origin_of

# The fields, by the names of the API.
OAUTH = {
    "tokenUrl": "oauth_token_url",
    "clientId": "oauth_client_id",
    "clientSecret": "new_client_secret",
    "scopes": "oauth_scopes",
    "authMethod": "oauth_auth_method",
    "extraParams": "oauth_extra_params",
}
IN_FORM = {"identity": "new_identity", "caCertificates": "ca_certificates"}
FIELDS = (*OAUTH.values(), *IN_FORM.values())
METHODS = {oauth.BASIC: "in the header (basic auth)", oauth.POST: "in the body"}


def _lines(rows: int) -> forms.Textarea:
    return forms.Textarea({"rows": rows, "class": "vLargeTextField wh-mono", "spellcheck": "false"})


class WithCredentials(forms.ModelForm):
    """`may_reveal` is set by the admin."""

    may_reveal = False

    oauth_token_url = AsTyped(
        required=False,
        label="OAuth: token URL",
        help_text="Calls carry an access token of this server (client credentials). Empty: no "
        "OAuth; a stored secret goes too.",
    )
    oauth_client_id = AsTyped(required=False, label="OAuth: client id")
    new_client_secret = SecretField("client-secret", label="OAuth: client secret")
    oauth_scopes = AsTyped(
        required=False, label="OAuth: scopes", help_text="With a space between them."
    )
    oauth_auth_method = forms.ChoiceField(
        required=False, choices=METHODS.items(), label="OAuth: id and secret are sent"
    )
    oauth_extra_params = AsTyped(
        required=False,
        widget=_lines(2),
        label="OAuth: extra parameters",
        help_text="One a line, audience=… for example. A value that is hidden stays.",
    )
    new_identity = SecretField(
        clearable=True,
        many_lines=True,
        label="Client certificate",
        help_text="One PEM: private key without a passphrase, certificate, chain. The key is never "
        "shown again.",
    )
    ca_certificates = AsTyped(
        required=False,
        widget=_lines(4),
        label="Certificate authorities",
        help_text="PEM of those that are trusted in place of the public ones; empty: those.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.credentials: dict[str, Any] = {}  # what is to change of them, as the verbs take it
        self.stored_client = client_of(self.instance)
        shown = oauth_shown(self.instance, masked=True) or {}
        params = shown.get("extraParams", {})
        self.initial.update(
            {
                "oauth_token_url": shown.get("tokenUrl", ""),
                "oauth_client_id": shown.get("clientId", ""),
                "oauth_scopes": " ".join(shown.get("scopes", ())),
                "oauth_auth_method": shown.get("authMethod", oauth.BASIC),
                "oauth_extra_params": "\n".join(
                    f"{name}={value}" for name, value in params.items()
                ),
                "ca_certificates": self.instance.ca_certificates,
            }
        )
        for name, column in (("new_client_secret", "oauth"), ("new_identity", "identity")):
            if field := self.fields.get(name):
                field.widget.stored = is_stored(self.instance, column)
                field.widget.may_reveal = self.may_reveal and name == "new_client_secret"
        if (words := certificate_words(self.instance)) and "new_identity" in self.fields:
            self.fields["new_identity"].help_text = words

    def judge_credentials(self, *, moved: bool) -> None:
        """Report at their fields what is wrong. `moved`: the URL leads to another origin."""
        if "oauth_token_url" not in self.fields:  # who may only look
            return
        data, kept = self.cleaned_data, self.stored_client
        wanted = self._oauth_wanted(data, kept)
        if wanted != (kept.settings if kept else None):
            self.credentials["oauth"] = wanted
        if data.get("new_identity") is not None:
            self.credentials["identity"] = data["new_identity"]
        if authorities := data.get("ca_certificates", ""):
            authorities = certificates.authorities(authorities) or authorities
        if authorities != self.instance.ca_certificates:
            self.credentials["ca_certificates"] = authorities
        try:
            actions.judged_credentials(self.credentials)
        except actions.Invalid as invalid:
            self._report_credentials(invalid.details)
        except actions.OlderWorkers as older:
            self.add_error(None, f"{older.words} ({', '.join(older.workers)}).")
        self.instance.has_oauth = wanted is not None  # the headers ask for it
        if not self.may_reveal:
            for name in self._kept_ones(wanted, kept, moved):
                if name not in self.errors:
                    self.add_error(name, ENTER_ANEW)

    def keeps_identity(self) -> bool:
        """Whether calls show a certificate after this form."""
        new = self.cleaned_data.get("new_identity")
        return is_stored(self.instance, "identity") if new is None else bool(new)

    @staticmethod
    def _oauth_wanted(data: Mapping[str, Any], kept: oauth.Client | None) -> dict[str, Any] | None:
        if not data.get("oauth_token_url"):
            return None
        params = dict(_params(data.get("oauth_extra_params", "")))
        return {
            "tokenUrl": data["oauth_token_url"],
            "clientId": data.get("oauth_client_id", ""),
            "clientSecret": data.get("new_client_secret") or (kept.client_secret if kept else ""),
            "scopes": data.get("oauth_scopes", "").split(),
            "authMethod": data.get("oauth_auth_method") or oauth.BASIC,
            "extraParams": unmasked(params, kept),
        }

    def _kept_ones(
        self, wanted: Mapping[str, Any] | None, kept: oauth.Client | None, moved: bool
    ) -> Iterator[str]:
        """The fields whose stored secrets would go along to another origin."""
        if wanted and kept:
            there = origin_of(kept.token_url) == origin_of(wanted["tokenUrl"])
            if moved or not there:
                if not self.cleaned_data.get("new_client_secret"):
                    yield "new_client_secret"
                if MASK in self.cleaned_data.get("oauth_extra_params", ""):
                    yield "oauth_extra_params"
        keeps = self.cleaned_data.get("new_identity") is None
        if moved and keeps and is_stored(self.instance, "identity"):
            yield "new_identity"

    def _report_credentials(self, details: Mapping[str, Any]) -> None:
        found = dict(details)
        inner = found.pop("oauth", {})
        if not isinstance(inner, Mapping):
            inner = {"tokenUrl": inner}
        named = {OAUTH.get(name, "oauth_token_url"): problem for name, problem in inner.items()}
        named |= {IN_FORM[name]: problem for name, problem in found.items()}
        for name, problem in named.items():
            if name not in self.errors:
                lines = [f"{path} {line}".strip() for path, line in actions.sentences(problem)]
                self.add_error(name, lines)


def _params(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, _, value = line.partition("=")
        if line.strip():
            yield name.strip(), value.strip()


def certificate_words(webhook: Webhook) -> str:
    """Of the client certificate that is stored; `""` for none."""
    if not is_stored(webhook, "identity"):
        return ""
    found = certificate_of(webhook)
    if found is None:
        return "It cannot be read: enter it anew."
    ends = f"{found.ends_at:%Y-%m-%d %H:%M} UTC"
    return f"{found.subject}, issued by {found.issuer}, until {ends}. SHA-256 {found.fingerprint}"


class Credentials:
    """The part of the webhooks' admin that knows of OAuth and client certificates."""

    @staticmethod
    def credentials_fieldset(*, may_change: bool) -> tuple[str, dict[str, Any]]:
        fields = FIELDS if may_change else ("oauth_", "identity_", "ca_certificates")
        return "OAuth 2 and client certificate", {"classes": ["collapse"], "fields": fields}

    @admin.display(description="OAuth 2")
    def oauth_(self, webhook: Webhook) -> str:
        client = client_of(webhook)
        return f"{client.client_id} at {client.token_url}" if client else "not set"

    @admin.display(description="Client certificate")
    def identity_(self, webhook: Webhook) -> str:
        return certificate_words(webhook) or "not set"

    @staticmethod
    def client_secret(webhook: Webhook) -> str:
        """`""` for none. Raises WrongKey."""
        client = oauth.client(webhook.oauth)
        return client.client_secret if client else ""
