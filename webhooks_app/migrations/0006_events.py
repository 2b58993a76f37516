import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import webhooks_app.fields
import webhooks_app.rules.ids

FORMS = [
    ("payload", "payload: the published bytes"),
    ("standard", "standard: type, timestamp and data, as Standard Webhooks"),
    ("thin", "thin: type, timestamp and the event's id; the receiver fetches the rest"),
    ("cloudevents", "cloudevents: a structured CloudEvent 1.0"),
]


class Migration(migrations.Migration):
    dependencies = [
        ("webhooks_app", "0005_words"),
    ]

    operations = [
        migrations.CreateModel(
            name="Event",
            fields=[
                (
                    "id",
                    webhooks_app.fields.IdField(
                        default=webhooks_app.rules.ids.new_id,
                        editable=False,
                        max_length=24,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("type", models.CharField(max_length=128)),
                ("payload", models.BinaryField()),
                (
                    "key",
                    models.CharField(
                        blank=True, max_length=256, null=True, verbose_name="event id"
                    ),
                ),
                ("key_spent", models.CharField(blank=True, default="", max_length=24)),
                (
                    "channels",
                    webhooks_app.fields.WordsField(blank=True, default=(), max_length=700),
                ),
                ("ordering_key", models.CharField(blank=True, default="", max_length=128)),
                ("subject", models.CharField(blank=True, default="", max_length=255)),
                ("reference", models.CharField(blank=True, default="", max_length=255)),
                ("time", models.DateTimeField(default=django.utils.timezone.now)),
                ("deliver_at", models.DateTimeField(blank=True, null=True)),
                ("matched", models.PositiveIntegerField(default=0)),
                ("filtered", models.PositiveIntegerField(default=0)),
                ("judged_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("fanned_out_to", models.CharField(blank=True, max_length=24, null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("created_by", models.CharField(blank=True, default="", max_length=150)),
                (
                    "account",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="events",
                        to="webhooks_app.account",
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
                "default_permissions": ("add", "view"),
                "indexes": [
                    models.Index(fields=["account", "id"], name="event_list"),
                    models.Index(fields=["account", "type", "id"], name="event_type"),
                    models.Index(
                        condition=models.Q(("reference", ""), _negated=True),
                        fields=["reference", "account", "id"],
                        name="event_reference",
                    ),
                    models.Index(
                        condition=models.Q(("subject", ""), _negated=True),
                        fields=["subject", "account", "id"],
                        name="event_subject",
                    ),
                    models.Index(
                        condition=models.Q(("fanned_out_to__isnull", False)),
                        fields=["id"],
                        name="event_fanning_out",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("key__isnull", False)),
                        fields=("key", "account", "key_spent"),
                        name="event_key",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="EventBody",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("form", models.CharField(max_length=16)),
                ("content_type", models.CharField(max_length=64)),
                ("payload", models.BinaryField()),
                (
                    "event",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="bodies",
                        to="webhooks_app.event",
                    ),
                ),
            ],
            options={
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(fields=("event", "form"), name="eventbody_event_form")
                ],
            },
        ),
        migrations.CreateModel(
            name="EventType",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=128)),
                ("group", models.CharField(blank=True, default="", max_length=128)),
                ("description", models.CharField(blank=True, default="", max_length=4000)),
                ("example", models.TextField(blank=True, default="")),
                ("seen", models.BooleanField(default=False)),
                ("archived_at", models.DateTimeField(blank=True, null=True)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                (
                    "account",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="event_types",
                        to="webhooks_app.account",
                    ),
                ),
            ],
            options={
                "ordering": ["name", "id"],
                "constraints": [
                    models.UniqueConstraint(fields=("account", "name"), name="eventtype_name"),
                    models.UniqueConstraint(
                        condition=models.Q(("account__isnull", True)),
                        fields=("name",),
                        name="eventtype_site_name",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Subscription",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.PositiveSmallIntegerField()),
                ("pattern", models.CharField(max_length=130)),
                (
                    "channels",
                    webhooks_app.fields.WordsField(blank=True, default=(), max_length=1400),
                ),
                ("filter", models.TextField(blank=True, default="")),
                ("valid_from", models.DateTimeField()),
                ("valid_until", models.DateTimeField(blank=True, null=True)),
                (
                    "account",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="webhooks_app.account",
                    ),
                ),
                (
                    "webhook",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="subscriptions",
                        to="webhooks_app.webhook",
                    ),
                ),
            ],
            options={
                "ordering": ["number", "id"],
                "default_permissions": (),
                "indexes": [
                    models.Index(
                        condition=models.Q(("valid_until__isnull", True)),
                        fields=["account", "pattern"],
                        name="subscription_present",
                    ),
                    models.Index(fields=["webhook", "number"], name="subscription_webhook"),
                    models.Index(
                        condition=models.Q(("valid_until__isnull", False)),
                        fields=["account", "valid_until"],
                        name="subscription_ended",
                    ),
                ],
            },
        ),
        # What follows is null, or has a default of the database's: processes of an older version
        # insert without it.
        migrations.AddField(
            model_name="delivery",
            name="event",
            field=models.ForeignKey(
                blank=True,
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="deliveries",
                to="webhooks_app.event",
            ),
        ),
        migrations.AddField(
            model_name="delivery",
            name="form",
            field=models.CharField(blank=True, choices=FORMS, max_length=16, null=True),
        ),
        migrations.AddField(
            model_name="webhook",
            name="form",
            field=models.CharField(
                choices=FORMS,
                db_default="payload",
                default="payload",
                help_text="What is sent of an event; deliveries made directly are sent as they are.",
                max_length=16,
            ),
        ),
        migrations.AddField(
            model_name="worker",
            name="version",
            field=models.CharField(blank=True, db_default="", default="", max_length=32),
        ),
    ]
