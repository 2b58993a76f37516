from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("webhooks_app", "0024_lines_by_index"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="worker",
            options={"ordering": ["started_at", "id"], "verbose_name_plural": "our side"},
        ),
    ]
