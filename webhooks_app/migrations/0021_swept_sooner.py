from typing import Any

from django.db import migrations

SHARE = "autovacuum_vacuum_scale_factor"


def sooner(apps: Any, schema_editor: Any) -> None:
    """PostgreSQL sweeps deliveries once a twentieth of them has a new version, not a fifth: each
    delivery gets one, and the old one has the payload in it. Nobody waits for this."""
    _alter(apps, schema_editor, f"SET ({SHARE} = 0.05)")


def as_others(apps: Any, schema_editor: Any) -> None:
    _alter(apps, schema_editor, f"RESET ({SHARE})")


def _alter(apps: Any, schema_editor: Any, how: str) -> None:
    if schema_editor.connection.vendor == "postgresql":
        table = apps.get_model("webhooks_app", "delivery")._meta.db_table
        schema_editor.execute(f"ALTER TABLE {table} {how}")


class Migration(migrations.Migration):
    dependencies = [
        ("webhooks_app", "0020_attempt_tls_version"),
    ]

    operations = [migrations.RunPython(sooner, as_others)]
