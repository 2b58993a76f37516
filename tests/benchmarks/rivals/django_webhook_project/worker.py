import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")

from django.conf import settings

app = Celery("rival", broker=settings.BROKER)
app.autodiscover_tasks()
