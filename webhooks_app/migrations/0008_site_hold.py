import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("webhooks_app", "0007_deliveries_by_event"),
    ]

    operations = [
        migrations.CreateModel(
            name="SiteHold",
            fields=[
                (
                    "id",
                    models.PositiveSmallIntegerField(
                        default=1, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("since", models.DateTimeField(default=django.utils.timezone.now)),
                ("by", models.CharField(blank=True, default="", max_length=150)),
                ("note", models.CharField(blank=True, default="", max_length=255)),
            ],
            options={
                "default_permissions": (),
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="sitehold_one")
                ],
            },
        ),
        # A worker of a version that knows no hold writes its row without this.
        migrations.AddField(
            model_name="worker",
            name="holds",
            field=models.BooleanField(db_default=False, default=False),
        ),
    ]
