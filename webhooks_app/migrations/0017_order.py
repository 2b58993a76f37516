from typing import Any

from django.db import migrations, models

SEQUENCE = "webhooks_app_delivery_positions"


def make_sequence(apps: Any, schema_editor: Any) -> None:
    """PostgreSQL's; SQLite counts in the row of Position. It goes with its table."""
    if schema_editor.connection.vendor == "postgresql":
        table = apps.get_model("webhooks_app", "delivery")._meta.db_table
        schema_editor.execute(
            f"CREATE SEQUENCE IF NOT EXISTS {SEQUENCE} AS bigint CACHE 1 OWNED BY {table}.position"
        )


def drop_sequence(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(f"DROP SEQUENCE IF EXISTS {SEQUENCE}")


class Migration(migrations.Migration):
    dependencies = [
        ("webhooks_app", "0016_hourlylag"),
    ]

    operations = [
        migrations.AddField(
            model_name="delivery",
            name="ordering_key",
            field=models.CharField(blank=True, max_length=128, null=True),
        ),
        migrations.AddField(
            model_name="delivery",
            name="position",
            field=models.BigIntegerField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name="webhook",
            name="order",
            field=models.CharField(
                blank=True,
                choices=[
                    ("", "nothing: as many at once as may be"),
                    ("webhook", "all of the webhook"),
                    ("key", "all with the same ordering key"),
                ],
                db_default="",
                default="",
                help_text="What is sent one after the other, each when the one before has ended.",
                max_length=7,
            ),
        ),
        migrations.AddField(
            model_name="webhook",
            name="on_dead",
            field=models.CharField(
                choices=[
                    ("continue", "the next one goes"),
                    ("stop", "the webhook is stopped, until a person decides"),
                ],
                db_default="continue",
                default="continue",
                max_length=8,
                verbose_name="in order, when all tries failed",
            ),
        ),
        migrations.RemoveConstraint(model_name="webhook", name="webhook_stopped"),
        migrations.AlterField(
            model_name="webhook",
            name="stopped",
            field=models.CharField(
                blank=True,
                choices=[
                    ("paused", "paused by a person"),
                    ("gone", "the receiver says it is gone (410)"),
                    ("failing", "nothing but failure for 5 days"),
                    ("blocked", "a delivery gave up, and those behind it wait"),
                ],
                default="",
                editable=False,
                max_length=7,
            ),
        ),
        migrations.AddConstraint(
            model_name="webhook",
            constraint=models.CheckConstraint(
                condition=models.Q(("stopped__in", ["", "paused", "gone", "failing", "blocked"])),
                name="webhook_stopped",
            ),
        ),
        migrations.CreateModel(
            name="Position",
            fields=[
                ("id", models.PositiveSmallIntegerField(primary_key=True, serialize=False)),
                ("last", models.BigIntegerField()),
            ],
            options={"default_permissions": ()},
        ),
        migrations.RunPython(make_sequence, drop_sequence),
    ]
