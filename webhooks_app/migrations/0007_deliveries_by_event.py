from importlib import import_module

from django.db import migrations, models

# An index that is built while workers go on writing.
AddIndexBeside = import_module("webhooks_app.migrations.0003_deliveries_by_error").AddIndexBeside


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("webhooks_app", "0006_events"),
    ]

    operations = [
        AddIndexBeside(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("event__isnull", False)),
                fields=["event", "id"],
                name="delivery_event",
            ),
        ),
    ]
