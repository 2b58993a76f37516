import sys

from django.apps import AppConfig
from django.core.management import ManagementUtility


class WebhooksConfig(AppConfig):
    name = "webhooks_app"
    label = "webhooks_app"
    verbose_name = "Webhooks console"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks, conf  # noqa: F401  (checks register themselves)
        from .models.account import let_users_be_deleted

        # Under ASGI, WSGI and in a script no system check runs: an unreadable setting stops those
        # here. A command says it by its checks, all of them at once and without a traceback.
        if not _is_a_command():
            conf.validate()
        let_users_be_deleted()


def _is_a_command() -> bool:
    """Whether `manage.py` or `django-admin` is setting Django up."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code is ManagementUtility.execute.__code__:
            return True
    return False
