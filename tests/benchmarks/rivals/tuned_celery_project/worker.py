import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")

from django.conf import settings

app = Celery("rival", broker=settings.BROKER)
app.conf.task_ignore_result = True  # the row is the result
app.conf.task_acks_late = True  # a killed worker's deliveries are not lost
app.conf.worker_prefetch_multiplier = 4
app.autodiscover_tasks(["orders"])
