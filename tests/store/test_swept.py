"""What PostgreSQL does by itself: each outcome leaves an old version of its delivery, payload and
all."""

import pytest
from django.db import connection

from webhooks_app.models import Delivery

OPTION = "SELECT option_value::float FROM pg_class, pg_options_to_table(reloptions) "


@pytest.mark.django_db
def test_old_versions_of_deliveries_are_swept_before_they_are_a_tenth_of_the_table():
    if connection.vendor != "postgresql":
        pytest.skip("SQLite changes a row where it stands")
    with connection.cursor() as cursor:
        which = "WHERE relname = %s AND option_name = 'autovacuum_vacuum_scale_factor'"
        cursor.execute(OPTION + which, [Delivery._meta.db_table])
        [(share,)] = cursor.fetchall()
    assert 0.01 <= share < 0.1
