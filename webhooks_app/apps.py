from django.apps import AppConfig


class WebhooksConfig(AppConfig):
    name = "webhooks_app"
    label = "webhooks_app"
    verbose_name = "Webhooks"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks, conf  # noqa: F401  (checks register themselves)

        # Under ASGI and WSGI system checks do not run; an unreadable setting must stop those too.
        conf.validate()
