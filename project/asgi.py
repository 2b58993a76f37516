import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django.setup(set_prefix=False)

from webhooks_app.engine import metrics_port, output  # noqa: E402  (they need Django set up)

from .serving import Site  # noqa: E402

output.never_block()
metrics_port.open_port()
application = Site()
