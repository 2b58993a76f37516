from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("webhooks_app", "0019_notes")]

    operations = [
        migrations.AddField(
            model_name="attempt",
            name="tls_version",
            field=models.CharField(max_length=16, null=True, verbose_name="TLS version"),
        ),
    ]
