from importlib import import_module

from django.db import migrations, models

# An index that is built while workers go on writing.
AddIndexBeside = import_module("webhooks_app.migrations.0003_deliveries_by_error").AddIndexBeside


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("webhooks_app", "0012_limits"),
    ]

    operations = [
        AddIndexBeside(
            model_name="webhookhealth",
            index=models.Index(
                condition=models.Q(("rests_until__isnull", False)),
                fields=["rests_until", "webhook"],
                name="health_rests",
            ),
        ),
    ]
