"""The site for tests that wait for the end of a body's time."""

from project import asgi, bodies

bodies.TIMEOUT = 3.0
application = asgi.application
