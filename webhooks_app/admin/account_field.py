"""An account by its name in a form, made with what belongs to it where it is the first thing."""

from typing import Any

from django import forms
from django.http import HttpRequest

from ..models import Account, AuditEntry
from .autocomplete import accounts_url


class AccountInput(forms.TextInput):
    """An account by its name: works without JavaScript, and among 100,000 of them."""

    def build_attrs(self, base_attrs: Any, extra_attrs: Any = None) -> dict[str, Any]:
        more = {"data-complete": accounts_url(), "autocomplete": "off", "maxlength": "64"}
        return super().build_attrs({**base_attrs, **more}, extra_attrs)


NO_ACCOUNT = "There is no account of this name."


class AccountField(forms.ModelChoiceField):
    """By its name; where `may_create`, one that is not stored yet for a name that nobody has."""

    may_create = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            Account.objects.all(),
            to_field_name="name",
            widget=AccountInput(attrs={"class": "vTextField"}),
            help_text="The name of the account.",
            error_messages={"invalid_choice": NO_ACCOUNT},
            **kwargs,
        )

    def to_python(self, value: Any) -> Any:
        try:
            return super().to_python(value)
        except forms.ValidationError:
            if not self.may_create:
                raise
        account = Account(name=str(value).strip())
        try:
            account.clean_fields()
        except forms.ValidationError as error:
            raise forms.ValidationError(error.messages) from None
        return account


class WithAccount(forms.ModelForm):
    """A form of what belongs to an account, which can be made with it: the first thing that is
    added to an empty site has none to belong to. `may_create` is set by the admin."""

    may_create = False

    account = AccountField()
    new_account = forms.BooleanField(
        required=False, label="Create it", help_text="If there is no account of this name yet."
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not (self.may_create and self.instance._state.adding):
            self.fields.pop("new_account", None)
            if "account" in self.fields and not Account.objects.exists():
                self.fields["account"].help_text = "There is none yet; you may not add one."
        else:
            account: Any = self.fields["account"]
            account.may_create = True

    @staticmethod
    def full(account: Account) -> str:
        """Why no more may belong to an account; `""` where it may."""
        return ""

    def clean_account(self) -> Account:
        account: Account = self.cleaned_data["account"]
        if self.instance._state.adding and (problem := self.full(account)):
            raise forms.ValidationError(problem)
        return account

    def clean_new_account(self) -> bool:
        asked = bool(self.cleaned_data["new_account"])
        account = self.cleaned_data.get("account")
        if account and account._state.adding and not asked:
            self.add_error("account", f"{NO_ACCOUNT} Tick “Create it” if it shall be a new one.")
        return asked

    def _get_validation_exclusions(self) -> set[str]:
        excluded: set[str] = super()._get_validation_exclusions()  # type: ignore[misc]
        return excluded | {"account"}  # the field has judged it; it may not be stored yet


def stored_account(account: Account, by: str) -> Account:
    """The account that was chosen, made if it is a new one."""
    if not account._state.adding:
        return account
    stored, made = Account.objects.get_or_create(name=account.name)
    if made:
        AuditEntry.objects.note(by, "Created.", stored)
    return stored


def may_create_account(request: HttpRequest) -> bool:
    return bool(request.user.has_perm("webhooks_app.add_account"))


def only_account() -> dict[str, Any]:
    """What a new row begins with where there is but one account, or none."""
    names = list(Account.objects.values_list("name", flat=True)[:2])
    if not names:
        return {"new_account": True}
    return {"account": names[0]} if len(names) == 1 else {}
