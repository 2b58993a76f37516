import os

from django.core.wsgi import get_wsgi_application

from webhooks_app.engine import output
from webhooks_app.limits import WSGIHeadLimit

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
output.never_block()
application = WSGIHeadLimit(get_wsgi_application())
