import sys

from django.apps import AppConfig

# What argv begins with where checks run.
COMMANDS = ("manage.py", "django-admin", "django/__main__.py")


class WebhooksConfig(AppConfig):
    name = "webhooks_app"
    label = "webhooks_app"
    verbose_name = "Webhooks console"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks, conf  # noqa: F401  (checks register themselves)
        from .models.account import let_users_be_deleted
        from .models.partial_indexes import write_words

        # Under ASGI, WSGI and in a script no system check runs: an unreadable setting stops those
        # here. A command says it by its checks, all of them at once and without a traceback.
        if not sys.argv[0].endswith(COMMANDS):
            conf.validate()
        let_users_be_deleted()
        write_words(model for model in self.get_models() if not model._meta.proxy)
