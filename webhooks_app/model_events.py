"""Events of a host project's own models: published when a row is saved or deleted.

    from webhooks_app import model_events

    model_events.register(  # in AppConfig.ready()
        Order,
        type="shop.order",
        payload=lambda order: {"id": order.pk, "total": str(order.total)},
        account=lambda order: order.shop.webhooks_account,
    )

Then `order.save()` publishes `shop.order.created` or `shop.order.updated`, and `order.delete()`
`shop.order.deleted`, in the caller's transaction, or one of its own: together with the row or not
at all, where rows and events are in one database. Django sends no signals for `bulk_create`,
`QuerySet.update` and a few others: publish there by `actions.publish_many`.
"""

from collections.abc import Callable, Collection
from functools import wraps
from typing import Any

from django.db import connections, router, transaction
from django.db.models import Model
from django.db.models.signals import post_delete, post_save, pre_delete

from . import actions
from .models import Account
from .rules.subscriptions import event_type

EVENTS = ("created", "updated", "deleted")
_FROZEN = "_webhooks_frozen"  # attribute of a row that is being deleted
_TOGETHER = "_webhooks_together"  # of what saves a row and its event together


def register(
    model: type[Model],
    *,
    type: str,
    payload: Callable[[Any], Any],
    account: Callable[[Any], Account | None],
    events: Collection[str] = EVENTS,
) -> None:
    """Publish `<type>.created`, `.updated` and `.deleted`, or some of these, of a model.

    `payload` makes of a row what is sent, `account` says whose event it is; None: nobody's, nothing
    is published. Both see a deleted row as it was before. Fixtures that are loaded publish nothing.
    Registered again, the same type of a model takes the place of the first. What they raise, and
    what `actions.publish` does, comes through to whoever saves or deletes. Raises ValueError for a
    type or event that there cannot be.
    """
    for event in events:
        if event not in EVENTS:
            raise ValueError(f"{event} must be one of: {', '.join(EVENTS)}")
        event_type(f"{type}.{event}")

    def publish(event: str, whose: Account | None, body: Any) -> None:
        if whose is not None:
            actions.publish(whose, f"{type}.{event}", body)

    def saved(instance: Any, created: bool, raw: bool, **_: Any) -> None:
        event = "created" if created else "updated"
        if not raw and event in events:
            publish(event, account(instance), payload(instance))

    def freeze(instance: Any, **_: Any) -> None:
        # Once it is deleted, what it refers to may be gone.
        frozen = instance.__dict__.setdefault(_FROZEN, {})
        frozen[type] = account(instance), payload(instance)

    def deleted(instance: Any, **_: Any) -> None:
        publish("deleted", *instance.__dict__[_FROZEN].pop(type))

    _save_together(model)
    signals: list[tuple[Any, Any]] = [(post_save, saved)]
    if "deleted" in events:
        signals += [(pre_delete, freeze), (post_delete, deleted)]
    for signal in (post_save, pre_delete, post_delete):
        signal.disconnect(sender=model, dispatch_uid=_uid(type))
    for signal, receiver in signals:
        signal.connect(receiver, sender=model, weak=False, dispatch_uid=_uid(type))


def _save_together(model: type[Model]) -> None:
    """Outside of a transaction Django commits a row before it says that it was saved: then one
    begins here, in which the event is stored, too. (What is deleted has one already.)"""
    save = model.save_base
    if hasattr(save, _TOGETHER):
        return

    @wraps(save)
    def save_base(self: Any, *args: Any, **kwargs: Any) -> None:
        alias = kwargs.get("using") or router.db_for_write(type(self), instance=self)
        if connections[alias].in_atomic_block:
            save(self, *args, **kwargs)
            return
        with transaction.atomic(using=alias):
            save(self, *args, **kwargs)

    setattr(save_base, _TOGETHER, True)
    model.save_base = save_base  # type: ignore[method-assign]


def _uid(type: str) -> str:
    return f"webhooks {type}"
