from importlib import import_module

from django.db import migrations, models

# Indexes that are built, and dropped, while workers go on writing.
AddIndexBeside = import_module("webhooks_app.migrations.0003_deliveries_by_error").AddIndexBeside
RemoveIndexBeside = import_module("webhooks_app.migrations.0010_counts_by_index").RemoveIndexBeside


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("webhooks_app", "0023_failed_and_ordered"),
    ]

    operations = [
        AddIndexBeside(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("finished_at__isnull", True), ("state", "pending")),
                fields=["due_at", "webhook", "tries"],
                name="delivery_due",
            ),
        ),
        AddIndexBeside(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("position__isnull", False), ("state", "pending")),
                fields=[
                    *("webhook", "ordering_key", "position"),
                    *("due_at", "tries", "reason", "id"),
                ],
                name="delivery_in_line",
            ),
        ),
        RemoveIndexBeside(model_name="delivery", name="delivery_pending_due"),
        RemoveIndexBeside(model_name="delivery", name="delivery_line"),
    ]
