import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("webhooks_app", "0011_oauth_and_identity"),
    ]

    operations = [
        migrations.AddField(
            model_name="webhook",
            name="rate_count",
            field=models.PositiveIntegerField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name="webhook",
            name="rate_seconds",
            field=models.PositiveSmallIntegerField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name="webhook",
            name="retry_schedule",
            field=models.CharField(blank=True, editable=False, max_length=255, null=True),
        ),
        # Processes of the version before insert without these.
        migrations.AddField(
            model_name="webhook",
            name="breaker_after",
            field=models.PositiveSmallIntegerField(
                db_default=10,
                default=10,
                help_text="So many calls in a row that meet nobody let the webhook rest, 3 to 100.",
                validators=[
                    django.core.validators.MinValueValidator(3),
                    django.core.validators.MaxValueValidator(100),
                ],
                verbose_name="failures that open the breaker",
            ),
        ),
        migrations.AddField(
            model_name="webhook",
            name="breaker_off",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="It is called however often calls meet nobody.",
                verbose_name="no breaker",
            ),
        ),
        migrations.AddConstraint(
            model_name="webhook",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("rate_count__isnull", True), ("rate_seconds__isnull", True)),
                    models.Q(
                        ("rate_count__gte", 1),
                        ("rate_count__lte", 100000),
                        ("rate_seconds__in", [1, 60, 3600]),
                    ),
                    _connector="OR",
                ),
                name="webhook_rate",
            ),
        ),
        migrations.AddConstraint(
            model_name="webhook",
            constraint=models.CheckConstraint(
                condition=models.Q(("breaker_after__gte", 3), ("breaker_after__lte", 100)),
                name="webhook_breaker_after",
            ),
        ),
        migrations.AddField(
            model_name="webhookhealth",
            name="rests_until",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="webhookhealth",
            name="rests",
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
    ]
