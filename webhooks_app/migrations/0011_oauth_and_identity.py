from importlib import import_module
from typing import Any

from django.db import migrations, models, transaction

import webhooks_app.fields

AddIndexBeside = import_module("webhooks_app.migrations.0003_deliveries_by_error").AddIndexBeside

TABLE, NAME = "webhooks_app_attempt", "attempt_exchange"
BEFORE = "'delivery', 'interaction', 'verification', 'test'"
NOW = f"{BEFORE}, 'token'"


def allow_tokens(apps: Any, schema_editor: Any) -> None:
    """One more word in a check of the largest table, without reading it while nobody may write."""
    with schema_editor.connection.cursor() as cursor:
        if schema_editor.connection.vendor == "postgresql":
            check = f"CHECK (exchange IN ({NOW})) NOT VALID"
            cursor.execute(
                f"ALTER TABLE {TABLE} DROP CONSTRAINT {NAME}, ADD CONSTRAINT {NAME} {check}"
            )
            cursor.execute(f"ALTER TABLE {TABLE} VALIDATE CONSTRAINT {NAME}")
            return
        # As https://www.sqlite.org/lang_altertable.html tells for changes of a check alone; Django
        # would write the whole table anew, twice.
        with transaction.atomic(using=schema_editor.connection.alias):
            cursor.execute("PRAGMA schema_version")
            version = cursor.fetchone()[0]
            cursor.execute("PRAGMA writable_schema = 1")
            cursor.execute(
                "UPDATE sqlite_master SET sql = replace(sql, %s, %s)"
                " WHERE type = 'table' AND name = %s",
                [f"({BEFORE})", f"({NOW})", TABLE],
            )
            cursor.execute(f"PRAGMA schema_version = {version + 1}")
            cursor.execute("PRAGMA writable_schema = 0")


class AddField(migrations.AddField):
    """In a transaction of its own: SQLite makes the table anew, and nobody may find it gone."""

    atomic = True


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("webhooks_app", "0010_counts_by_index"),
    ]

    operations = [
        AddField(
            model_name="webhook",
            name="oauth",
            field=webhooks_app.fields.EncryptedTextField(
                blank=True, db_default="", default="", verbose_name="OAuth 2"
            ),
        ),
        AddField(
            model_name="webhook",
            name="identity",
            field=webhooks_app.fields.EncryptedTextField(
                blank=True, db_default="", default="", verbose_name="client certificate"
            ),
        ),
        AddField(
            model_name="webhook",
            name="ca_certificates",
            field=models.TextField(
                blank=True, db_default="", default="", verbose_name="certificate authorities"
            ),
        ),
        AddField(
            model_name="webhookhealth",
            name="identity_ends_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        AddField(
            model_name="webhookhealth",
            name="identity_told",
            field=models.DateTimeField(blank=True, null=True),
        ),
        AddIndexBeside(
            model_name="webhookhealth",
            index=models.Index(
                condition=models.Q(("identity_ends_at__isnull", False)),
                fields=["identity_ends_at"],
                name="health_identity",
            ),
        ),
        migrations.AlterField(
            model_name="attempt",
            name="exchange",
            field=models.CharField(
                choices=[
                    ("delivery", "delivery"),
                    ("interaction", "interaction"),
                    ("verification", "verification"),
                    ("test", "test"),
                    ("token", "token"),
                ],
                max_length=12,
            ),
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunPython(allow_tokens, migrations.RunPython.noop),
            ],
            state_operations=[
                migrations.RemoveConstraint(model_name="attempt", name="attempt_exchange"),
                migrations.AddConstraint(
                    model_name="attempt",
                    constraint=models.CheckConstraint(
                        condition=models.Q(
                            (
                                "exchange__in",
                                ["delivery", "interaction", "verification", "test", "token"],
                            )
                        ),
                        name="attempt_exchange",
                    ),
                ),
            ],
        ),
    ]
