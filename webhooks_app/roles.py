"""Roles of the staff, as Django groups: viewer, operator, administrator."""

from django.contrib.auth.models import Group, Permission
from django.db.models import Q

# Codenames within the app; "" is what every role may: look.
ROLES: dict[str, Q] = {
    "Webhooks viewer": Q(codename__startswith="view_"),
    "Webhooks operator": Q(codename__startswith="view_") | Q(codename="operate_webhook"),
    "Webhooks administrator": Q(),
}


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
