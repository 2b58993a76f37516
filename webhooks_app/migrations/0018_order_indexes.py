from importlib import import_module

from django.db import migrations, models

# An index that is built while workers go on writing.
AddIndexBeside = import_module("webhooks_app.migrations.0003_deliveries_by_error").AddIndexBeside


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("webhooks_app", "0017_order"),
    ]

    operations = [
        AddIndexBeside(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("position__isnull", False), ("state", "pending")),
                fields=["webhook", "ordering_key", "position"],
                name="delivery_line",
            ),
        ),
        AddIndexBeside(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("position__gt", 0)),
                fields=["webhook", "ordering_key", "position"],
                name="delivery_sequence",
            ),
        ),
    ]
