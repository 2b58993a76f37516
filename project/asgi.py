import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django.setup(set_prefix=False)

from .serving import Site  # noqa: E402  (it needs Django set up)

application = Site()
