from django.db import migrations, models

import webhooks_app.fields


class Migration(migrations.Migration):
    dependencies = [
        ("webhooks_app", "0013_rests"),
    ]

    operations = [
        migrations.AddField(
            model_name="webhook",
            name="host",
            field=models.GeneratedField(
                db_persist=True,
                expression=webhooks_app.fields.HostOf("url"),
                output_field=webhooks_app.fields.IdField(max_length=260),
            ),
        ),
    ]
