from importlib import import_module

from django.db import migrations, models

from webhooks_app.fields import NameStart

# An index that is built while workers go on writing.
AddIndexBeside = import_module("webhooks_app.migrations.0003_deliveries_by_error").AddIndexBeside


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("webhooks_app", "0014_webhook_host"),
    ]

    operations = [
        AddIndexBeside(
            model_name="webhook",
            index=models.Index(fields=["host", "id"], name="webhook_host"),
        ),
        AddIndexBeside(
            model_name="webhook",
            index=models.Index(NameStart("name"), name="webhook_name"),
        ),
    ]
