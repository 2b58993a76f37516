import time

import pytest
from django.db import connection, transaction

from webhooks_app.models import Account
from webhooks_app.models.statement_timeout import TooSlow, in_time

NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) "


def count_to(number):
    with connection.cursor() as cursor:
        cursor.execute(f"{NUMBERS.format(number)} SELECT count(*) FROM n")
        return cursor.fetchone()[0]


@pytest.mark.django_db
class TestInTime:
    def test_what_comes_in_time_is_the_answer(self):
        assert in_time(lambda: count_to(10), 5) == 10

    def test_what_does_not_is_given_up_and_the_transaction_goes_on(self):
        with transaction.atomic():
            began = time.monotonic()
            with pytest.raises(TooSlow):
                in_time(lambda: count_to(1_000_000_000), 0.05)
            assert time.monotonic() - began < 30
            assert Account.objects.count() == 0

    def test_the_limit_ends_with_it(self):
        with transaction.atomic():
            in_time(lambda: count_to(1), 0.001 if connection.vendor == "sqlite" else 60)
            if connection.vendor == "postgresql":
                with connection.cursor() as cursor:
                    cursor.execute("SELECT current_setting('statement_timeout')")
                    assert cursor.fetchone() == ("0",)
            assert count_to(300_000) == 300_000

    def test_other_faults_stay_what_they_are(self):
        with pytest.raises(ZeroDivisionError):
            in_time(lambda: 1 / 0, 1)
