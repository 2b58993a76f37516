"""Settings that the three projects share; what each rival needs beyond stands in its own."""

import os

SECRET_KEY = "for the benchmark only"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ["RIVAL_DATABASE"],
        "USER": os.environ["RIVAL_DATABASE_USER"],
        "HOST": os.environ["RIVAL_DATABASE_HOST"],
        "CONN_MAX_AGE": None,  # connections stay open: no rival pays for connecting
    }
}
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "orders"]
BROKER = os.environ.get("RIVAL_BROKER", "")
