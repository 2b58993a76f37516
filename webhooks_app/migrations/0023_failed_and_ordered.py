from importlib import import_module

from django.db import migrations, models

# An index that is built while workers go on writing.
AddIndexBeside = import_module("webhooks_app.migrations.0003_deliveries_by_error").AddIndexBeside


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("webhooks_app", "0022_event_cancelled_after"),
    ]

    operations = [
        AddIndexBeside(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("state", "failed")),
                fields=["id"],
                name="delivery_failed_id",
            ),
        ),
        AddIndexBeside(
            model_name="webhook",
            index=models.Index(
                condition=models.Q(("order", ""), _negated=True),
                fields=["id"],
                name="webhook_ordered",
            ),
        ),
    ]
