from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("webhooks_app", "0008_site_hold"),
    ]

    operations = [
        migrations.AddField(
            model_name="delivery",
            name="stored_in",
            field=models.CharField(blank=True, max_length=64, null=True, verbose_name="request id"),
        ),
    ]
