from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("webhooks_app", "0015_webhooks_by_host"),
    ]

    operations = [
        migrations.CreateModel(
            name="HourlyLag",
            fields=[
                ("hour", models.DateTimeField(primary_key=True, serialize=False)),
                ("seconds", models.FloatField()),
                ("at", models.DateTimeField()),
            ],
            options={"ordering": ["hour"], "default_permissions": ()},
        ),
    ]
