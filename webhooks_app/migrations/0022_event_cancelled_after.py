from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("webhooks_app", "0021_swept_sooner"),
    ]

    operations = [
        migrations.AddField(
            model_name="event",
            name="cancelled_after",
            field=models.CharField(blank=True, max_length=24, null=True),
        ),
    ]
