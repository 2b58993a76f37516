from typing import Any

from django.db import migrations, models


class AddIndexBeside(migrations.AddIndex):
    """An index that is built while workers go on writing; PostgreSQL alone would stop them."""

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        connection = schema_editor.connection
        if connection.vendor != "postgresql" or connection.in_atomic_block:
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = to_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(connection.alias, model):
            # What a migration left that was ended in the middle is not valid.
            schema_editor.remove_index(model, self.index, concurrently=True)
            schema_editor.add_index(model, self.index, concurrently=True)


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("webhooks_app", "0002_signing_keys"),
    ]

    operations = [
        AddIndexBeside(
            model_name="attempt",
            index=models.Index(
                condition=models.Q(
                    models.Q(("kind", ""), _negated=True), ("delivery__isnull", False)
                ),
                fields=["kind", "delivery"],
                name="attempt_met",
            ),
        ),
    ]
