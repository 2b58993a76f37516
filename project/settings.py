"""Settings of the standalone site, from the environment (and `.env`, if present)."""

import io
import os
import sys
import warnings
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent


class Literally(Mapping):
    """The environment, as it stands: django-environ takes what begins with `$` for the name of
    another variable, unless the sign is escaped. It takes the escapes away again."""

    def __getitem__(self, name):
        return os.environ[name].replace("$", r"\$")

    def __iter__(self):
        return iter(os.environ)

    def __len__(self):
        return len(os.environ)


def read_file(path):
    """Add what stands in `.env` to the environment; what is set there already stays.

    Judged here, for django-environ logs the lines that it does not understand, and in them stand
    secrets. Windows puts a byte order mark before the first.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        if "DJANGO_ENV_FILE" not in os.environ:
            return
        raise ImproperlyConfigured(f"DJANGO_ENV_FILE names {path}, which is not there") from None
    except OSError as error:
        raise ImproperlyConfigured(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise ImproperlyConfigured(f"{path.name} is not UTF-8") from None
    lines = [line.lstrip() for line in text.splitlines()]
    for number, line in enumerate(lines, 1):
        name, equals, _ = line.removeprefix("export ").partition("=")
        right = equals and name.isascii() and name.isidentifier()
        if line and not line.startswith("#") and not right:
            raise ImproperlyConfigured(f"{path.name}: line {number} is not of the form NAME=value")
    environ.Env.read_env(io.StringIO("\n".join(lines)))


env = environ.Env()
env.ENVIRON = Literally()
env.escape_proxy = True
read_file(Path(os.environ.get("DJANGO_ENV_FILE", BASE_DIR / ".env")))


def read(cast, name, default):
    """A value of the environment; an unreadable one stops the start with a sentence."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # django-environ's quote the value, too
            return cast(name, default=default)
    except (ValueError, TypeError, KeyError, ImproperlyConfigured):
        # Without what was found wrong: it quotes the value, which may hold a password.
        raise ImproperlyConfigured(f"{name} cannot be read: it has the wrong form") from None


def flag(name, default):
    """True or false; `env.bool` takes every word that it does not know for false."""
    words = {"true": True, "on": True, "yes": True, "1": True}
    words |= {"false": False, "off": False, "no": False, "0": False, "": False}
    return words[env.str(name, default=str(default)).strip().lower()]


def database(name, default):
    config = env.db_url(name, default=default)
    if not config["ENGINE"].endswith(("sqlite3", "postgresql")):
        raise ValueError
    options = config.get("OPTIONS", {})
    if config["ENGINE"].endswith("sqlite3") and "timeout" in options:
        options["timeout"] = float(options["timeout"])  # seconds; sqlite3 takes no text
    return config


DEBUG = read(flag, "DEBUG", False)
SECRET_KEY = env.str("SECRET_KEY", default="")
if not SECRET_KEY:
    if not DEBUG:
        raise ImproperlyConfigured(
            "SECRET_KEY is not set. `make run` writes one into .env; elsewhere set it in the "
            "environment (outside DEBUG there is no default)."
        )
    SECRET_KEY = "insecure-development-key-for-DEBUG-only-" + "x" * 20
ALLOWED_HOSTS = read(env.list, "ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = read(env.list, "CSRF_TRUSTED_ORIGINS", [])
if not DEBUG:  # judged here, because system checks do not run under ASGI and WSGI
    if len(SECRET_KEY) < 50 or len(set(SECRET_KEY)) < 5 or "insecure-" in SECRET_KEY:
        raise ImproperlyConfigured(
            "SECRET_KEY is too short or a default: outside DEBUG it must be at least 50 random "
            "characters, for instance of: python -c 'import secrets; "
            "print(secrets.token_urlsafe(50))'"
        )
    if not ALLOWED_HOSTS or any(host.startswith("*") for host in ALLOWED_HOSTS):
        raise ImproperlyConfigured(
            "ALLOWED_HOSTS must name the hosts of the site: outside DEBUG it takes no wildcard."
        )

INSTALLED_APPS = [
    "webhooks_app",
    "project",
    "project.apps.ConsoleConfig",  # django.contrib.admin, with the console as its site
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular_sidecar",
    "csp",
    "axes",
]

MIDDLEWARE = [
    "webhooks_app.request_ids.middleware",
    "project.middleware.any_host",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "project.middleware.StrangersForms",  # before the check of CSRF, which reads a form
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]
# Of these, what concerns a request of the API with a bearer token (see `project/serving.py`).
MIDDLEWARE_FOR_TOKENS = [
    "webhooks_app.request_ids.middleware",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

CSRF_FAILURE_VIEW = "project.errors.csrf_failure"

ROOT_URLCONF = "project.urls"
ASGI_APPLICATION = "project.asgi.application"
WSGI_APPLICATION = "project.wsgi.application"
APPEND_SLASH = False

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {"default": read(database, "DATABASE_URL", f"sqlite:///{BASE_DIR / 'db.sqlite3'}")}
_database = DATABASES["default"]
_options = _database.setdefault("OPTIONS", {})
if _database["ENGINE"].endswith("sqlite3"):
    # FULL: an acknowledged delivery survives a power cut; NORMAL may lose the last commits.
    _options.setdefault("transaction_mode", "IMMEDIATE")
    _options.setdefault("timeout", 20)
    # Its log goes into the file every 32 MB, as a worker does it: whoever commits past that pays.
    _options.setdefault(
        "init_command",
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=8000;",
    )
# A connection stays with one of the few turns of `project/serving.py`, not with a thread.
_database["CONN_MAX_AGE"] = None
_database["CONN_HEALTH_CHECKS"] = _database["ENGINE"].endswith("postgresql")

# Requests that store deliveries, publish events or send interactions share their transactions with
# those that come at once.
GROUP_COMMIT = read(flag, "GROUP_COMMIT", True)

# What limits count in. In the memory of a process the counts are its own: several web processes
# want a shared one.
CACHES = {"default": read(env.cache_url, "CACHE_URL", "locmemcache://?max_entries=100000")}

# Notices are mailed. Without a mail server they are thrown away.
vars().update(read(env.email_url, "EMAIL_URL", "dummymail://"))
EMAIL_TIMEOUT = 10  # seconds
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="webhooks@localhost")

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
# Set once `collectstatic` has been used; until then files are served from where they are.
_collected = BASE_DIR / "staticfiles"
STATIC_ROOT = _collected if _collected.is_dir() or "collectstatic" in sys.argv else None
WHITENOISE_USE_FINDERS = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- the browser's side of security

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'"],
        "object-src": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
    }
}
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
# A default filter masks marked values in reports of errors outside DEBUG only.
DEFAULT_EXCEPTION_REPORTER_FILTER = "project.errors.AlwaysMasked"

# Behind proxies their X-Forwarded-For and X-Forwarded-Proto are believed; see docs/deploy.md.
_proxies = read(env.int, "WEBHOOKS_TRUSTED_PROXIES", 0)
HTTPS = read(flag, "HTTPS", False)
if HTTPS:
    SECURE_SSL_REDIRECT = True
    SECURE_REDIRECT_EXEMPT = [r"^(healthz|readyz|metrics)$"]  # asked from inside, without TLS
    SECURE_HSTS_SECONDS = read(env.int, "HSTS_SECONDS", 365 * 86400)
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    if _proxies:
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
# W021 wants `preload`, which speaks for a whole registered domain: not for one site to decide.
SILENCED_SYSTEM_CHECKS = ["security.W021"]

# --- log-ins: failed ones are counted in the database, by address

LOGIN_REDIRECT_URL = "admin:index"  # after a log-in with no address to go on to, or a foreign one

AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
# By address and not by user name, or a stranger could lock every staff member out.
AXES_LOCKOUT_PARAMETERS = ["ip_address"]
AXES_CLIENT_IP_CALLABLE = "project.log_in.address"
AXES_USERNAME_CALLABLE = "project.log_in.user_name"
AXES_LOCKOUT_CALLABLE = "project.log_in.locked_out"
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_DISABLE_ACCESS_LOG = True  # only failures are kept, and only while they count
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False

# --- logs: one line each on standard error


def log_format(name, default):
    found = env.str(name, default=default)
    return {"line": "line", "json": "json"}[found]


LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "project.logs.OneLine",
            "format": "%(asctime)s %(levelname)s %(name)s: %(message)s",
        },
        "json": {"()": "project.logs.Json"},
    },
    "filters": {"no fault": {"()": "project.logs.NoFault"}},
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "filters": ["no fault"],
            "formatter": read(log_format, "LOG_FORMAT", "line"),
        },
        "nowhere": {"class": "logging.NullHandler"},
    },
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        "django": {"handlers": [], "level": "WARNING", "propagate": True},
        "webhooks.access": {"level": "INFO" if read(flag, "ACCESS_LOG", False) else "WARNING"},
        # A stranger may send any; the request's own line says 400, a traceback says no more.
        "django.security.DisallowedHost": {"handlers": ["nowhere"], "propagate": False},
    },
}

# Every WEBHOOKS_* variable goes on as it is: webhooks_app/conf.py reads and judges them all.
for _name in os.environ:
    if _name.startswith("WEBHOOKS_"):
        globals()[_name] = env.str(_name)
