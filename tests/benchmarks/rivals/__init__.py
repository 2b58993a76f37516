"""The rivals: real little Django projects, run by an environment of their own (.venv-bench).

All of them store in PostgreSQL, send to the same sink, and have two cores: what is queued is
queued before the workers start, so that only the sending is measured.
"""

import os
import shutil
import subprocess
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.ports import free_port

from .. import stage

HERE = Path(__file__).parent
PYTHON = stage.ROOT / ".venv-bench" / "bin" / "python"
INSTALLED = stage.ROOT / ".venv-bench" / "stamp"
REDIS = shutil.which("redis-server")


def rival(server, project, command, unfinished, *, workers=1, share, celery=True):
    """A candidate. `unfinished`: rows (SQL) not yet written; `share` of COUNT is enough for it."""

    def run(sink, count):
        if not INSTALLED.exists():
            raise stage.Missing("its packages could not be installed")
        if celery and REDIS is None:
            raise stage.Missing("there is no redis-server")
        count = max(100, int(count * share) // 100 * 100)
        with ExitStack() as stack:
            url = stack.enter_context(server.database(migrated=False))
            ask = stack.enter_context(server.ask(url))
            broker = stack.enter_context(redis()) if celery else ""
            environment = _environment(url, broker)
            start = _starter(HERE / project, environment)
            for arguments in (
                ["-m", "django", "migrate", "-v0", "--run-syncdb"],
                ["fill.py", sink.url(), str(count)],
            ):
                if start(arguments).wait(timeout=300):
                    raise stage.Missing(f"it does not start ({arguments[0]} {arguments[1]})")
            before = sink.count()
            processes = [
                start([part.format(n=number) for part in command]) for number in range(workers)
            ]
            stack.callback(_end, processes)
            return stage.watch(
                sink,
                before,
                count,
                processes,
                database=server,
                finished=lambda: ask(f"SELECT NOT EXISTS (SELECT 1 FROM {unfinished})")[0],
            )

    return run


def rivals(server):
    # Only the sending of the slow ones must take seconds, not minutes.
    return {
        "django-webhook (Celery defaults)": rival(
            server,
            "django_webhook_project",
            ["-m", "celery", "-A", "worker", "worker", "-c", "2"],
            "django_webhook_webhookevent WHERE status <> 'SUCCESS'",
            share=0.015,
        ),
        "tuned Celery task (2 × 20 threads)": rival(
            server,
            "tuned_celery_project",
            [
                "-m",
                "celery",
                "-A",
                "worker",
                "worker",
                "-P",
                "threads",
                "-c",
                "20",
                "-n",
                "{n}@rival",
            ],
            "orders_delivery WHERE state <> 'delivered'",
            workers=2,
            share=0.06,
        ),
        "django-outbound-webhooks (2 relays)": rival(
            server,
            "outbound_webhooks_project",
            ["-m", "django", "deliver_events"],
            "django_domain_events_deliveryrecord WHERE status <> 'succeeded'",
            workers=2,
            share=0.015,
            celery=False,
        ),
    }


def _environment(url, broker):
    parts = urlsplit(url)
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ} | {
        "PYTHONPATH": str(HERE),
        "DJANGO_SETTINGS_MODULE": "settings",
        "RIVAL_DATABASE": parts.path.lstrip("/"),
        "RIVAL_DATABASE_USER": parts.username or "",
        "RIVAL_DATABASE_HOST": parse_qs(parts.query)["host"][0],
        "RIVAL_BROKER": broker,
    }


def _starter(folder, environment):
    def start(arguments):
        return subprocess.Popen(
            [PYTHON, *arguments],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    return start


def _end(processes):
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def redis():
    port = free_port()
    with stage.folder() as folder:
        process = subprocess.Popen(
            [REDIS, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)],
            stdout=subprocess.DEVNULL,
        )
        try:
            time.sleep(0.5)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait()
