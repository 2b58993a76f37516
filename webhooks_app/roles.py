"""Who may do what: the permission that each verb asks for, and roles of the staff as groups.

The console and the browsable API both read it here. Access tokens have scopes instead; a command
asks nobody: it belongs to whoever runs the server.
"""

from typing import Any

from django.contrib.auth.models import Group, Permission
from django.db.models import Q

# A permission (its codename within the app) and the verbs of `actions` it allows; `reveal` is the
# console's own. To look at rows asks for the stock view permission of their model.
ALLOWS = {
    "add_webhook": ["create_webhook"],
    "change_webhook": ["update_webhook", "set_subscriptions", "rotate_secret", "end_overlap"],
    "delete_webhook": ["delete_webhook", "restore_webhook"],
    "reveal_secrets": ["reveal", "reveal_secret"],
    "add_delivery": ["deliver", "deliver_many"],
    "add_event": ["publish", "publish_many"],
    "add_eventtype": ["declare_event_type"],
    "change_eventtype": ["update_event_type"],
    "delete_eventtype": ["expunge_event_type"],
    "delete_account": ["delete_account"],
    "add_accesstoken": ["issue_token"],
    "change_accesstoken": ["revoke_token"],
    "operate_webhook": [
        *("pause", "enable", "close_breaker", "clear_error"),
        *("request_verification", "verify", "test", "interact", "ainteract"),
        *("retry", "replay", "start_replay", "cancel", "cancel_event"),
        *("hold_all", "release_all"),
        *("create_job", "pause_job", "resume_job", "stop_job", "set_pace"),
        *("add_note", "strike_note"),
    ],
}
VERBS = {verb: permission for permission, verbs in ALLOWS.items() for verb in verbs}

# Codenames within the app that a role holds; no condition at all is every permission of the app.
ROLES: dict[str, Q] = {
    "Webhooks viewer": Q(codename__startswith="view_"),
    "Webhooks operator": Q(codename__startswith="view_") | Q(codename="operate_webhook"),
    "Webhooks administrator": Q(),
}


def may(user: Any, verb: str) -> bool:
    """Whether this user may do `verb`. KeyError for a verb that the table does not know."""
    return bool(user.has_perm(f"webhooks_app.{VERBS[verb]}"))


def make_roles(using: str = "default", *, again: bool = False) -> list[str]:
    """Make the groups that are missing; returns the names of those that were made.

    A group that exists is left as it is, because somebody may have changed it on purpose; `again`
    gives it exactly the permissions of its role back. Needs the permissions, which Django makes
    after `migrate`.
    """
    groups = Group.objects.using(using)
    there = {group.name: group for group in groups.filter(name__in=ROLES)}
    made = []
    for name, condition in ROLES.items():
        if name in there and not again:
            continue
        ours = Permission.objects.using(using).filter(content_type__app_label="webhooks_app")
        group = there.get(name) or groups.create(name=name)
        group.permissions.set(ours.filter(condition))
        made.append(name)
    return made
