from importlib import import_module
from typing import Any

from django.db import migrations, models

# An index that is built while workers go on writing.
AddIndexBeside = import_module("webhooks_app.migrations.0003_deliveries_by_error").AddIndexBeside


class RemoveIndexBeside(migrations.RemoveIndex):
    """The same for one that is dropped."""

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        connection = schema_editor.connection
        if connection.vendor != "postgresql" or connection.in_atomic_block:
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = from_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(connection.alias, model):
            state = from_state.models[app_label, self.model_name_lower]
            index = state.get_index_by_name(self.name)
            schema_editor.remove_index(model, index, concurrently=True)


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("webhooks_app", "0009_stored_in"),
    ]

    operations = [
        AddIndexBeside(
            model_name="webhook",
            index=models.Index(fields=["account", "id"], name="webhook_account"),
        ),
        AddIndexBeside(
            model_name="webhook",
            index=models.Index(
                condition=models.Q(("deleted_at__isnull", False)),
                fields=["deleted_at", "id"],
                name="webhook_deleted_id",
            ),
        ),
        AddIndexBeside(
            model_name="webhook",
            index=models.Index(
                condition=models.Q(("stopped", ""), _negated=True),
                fields=["stopped", "id"],
                name="webhook_stops",
            ),
        ),
        AddIndexBeside(
            model_name="webhookhealth",
            index=models.Index(
                condition=models.Q(("failures_in_row__gte", 5)),
                fields=["failing_since", "webhook"],
                name="health_failing_webhook",
            ),
        ),
        AddIndexBeside(
            model_name="webhookhealth",
            index=models.Index(
                condition=models.Q(("breaker_until__isnull", False)),
                fields=["breaker_until", "webhook"],
                name="health_breaker_webhook",
            ),
        ),
        AddIndexBeside(
            model_name="attempt",
            index=models.Index(
                condition=models.Q(("kind", ""), _negated=True),
                fields=["id", "kind", "webhook", "exchange", "ended_at"],
                name="attempt_failures",
            ),
        ),
        RemoveIndexBeside(model_name="attempt", name="attempt_failed_id"),
        RemoveIndexBeside(model_name="webhook", name="webhook_deleted"),
        RemoveIndexBeside(model_name="webhookhealth", name="health_failing"),
        RemoveIndexBeside(model_name="webhookhealth", name="health_breaker"),
    ]
