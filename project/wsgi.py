import os

from django.core.wsgi import get_wsgi_application

from webhooks_app.limits import WSGIHeadLimit

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
application = WSGIHeadLimit(get_wsgi_application())
