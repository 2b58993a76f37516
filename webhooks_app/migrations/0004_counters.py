from typing import Any

from django.db import migrations, models

import webhooks_app.fields


def begin(apps: Any, schema_editor: Any) -> None:
    """Deliveries of before are none that are accepted from now on."""
    alias = schema_editor.connection.alias
    last = apps.get_model("webhooks_app", "Delivery").objects.using(alias).order_by("-id").first()
    if last is not None:
        counters = apps.get_model("webhooks_app", "Counter").objects.using(alias)
        counters.create(name="accepted", slot=0, place=last.pk)


class Migration(migrations.Migration):
    dependencies = [
        ("webhooks_app", "0003_deliveries_by_error"),
    ]

    operations = [
        migrations.CreateModel(
            name="Counter",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "name",
                        "kind",
                        "slot",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("name", models.CharField(max_length=12)),
                ("kind", models.CharField(blank=True, default="", max_length=16)),
                ("slot", models.PositiveSmallIntegerField()),
                ("count", models.PositiveBigIntegerField(db_default=0, default=0)),
                (
                    "place",
                    webhooks_app.fields.IdField(
                        blank=True, db_default="", default="", max_length=24
                    ),
                ),
            ],
            options={
                "ordering": ["name", "kind", "slot"],
                "default_permissions": (),
            },
        ),
        migrations.RunPython(begin, migrations.RunPython.noop),
    ]
