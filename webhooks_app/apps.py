from django.apps import AppConfig


class WebhooksConfig(AppConfig):
    name = "webhooks_app"
    label = "webhooks_app"
    verbose_name = "Webhooks console"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks, conf  # noqa: F401  (checks register themselves)
        from .models.account import let_users_be_deleted

        # Under ASGI and WSGI system checks do not run; an unreadable setting must stop those too.
        conf.validate()
        let_users_be_deleted()
