"""A task of one's own, tuned as one finds it advised."""

from base import *  # noqa: F403
from base import DATABASES

# Celery closes the connection after each task whatever CONN_MAX_AGE says; it goes into a pool.
DATABASES["default"]["CONN_MAX_AGE"] = 0
DATABASES["default"]["OPTIONS"] = {"pool": {"min_size": 20, "max_size": 24}}
