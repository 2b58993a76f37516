from typing import Any

from django.db import migrations, models

OPERATE = "Can operate webhook: verify, test, pause, resume, retry, replay and cancel"


def rename_permission(apps: Any, schema_editor: Any) -> None:
    """Django makes permissions and never names them anew. They live where the users do."""
    permissions = apps.get_model("auth", "Permission")
    connection = schema_editor.connection
    if permissions._meta.db_table in connection.introspection.table_names():
        ours = {"content_type__app_label": "webhooks_app", "codename": "operate_webhook"}
        permissions.objects.using(connection.alias).filter(**ours).update(name=OPERATE)


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("webhooks_app", "0004_counters"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="webhook",
            options={
                "ordering": ["id"],
                "permissions": [
                    ("operate_webhook", OPERATE),
                    ("reveal_secrets", "Can reveal tokens, passwords and header values"),
                ],
            },
        ),
        migrations.AlterField(
            model_name="job",
            name="verb",
            field=models.CharField(
                choices=[("retry", "replay"), ("cancel", "cancel")], max_length=6
            ),
        ),
        migrations.RunPython(rename_permission, migrations.RunPython.noop, elidable=True),
    ]
