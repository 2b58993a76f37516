import os

from django.core.wsgi import get_wsgi_application

from .limits import QueryLimit

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
application = QueryLimit(get_wsgi_application())
