"""A private PostgreSQL for unit tests: own folder, UNIX socket only, gone at the end."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile

from tests.harness.server import service_user

BIN = pathlib.Path("/usr/lib/postgresql/15/bin")


@contextlib.contextmanager
def private_postgres():
    """Yields a conninfo of a fresh cluster with the database "test"."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="musubi-pg-"))
    user = service_user()
    prefix = []
    if user:
        os.chown(folder, user.pw_uid, user.pw_gid)
        prefix = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]

    def run(*command):
        subprocess.run([*prefix, *map(str, command)], check=True, capture_output=True, cwd=folder)

    data = folder / "data"
    try:
        run(BIN / "initdb", "-D", data, "-k", "-N", "-U", "test", "-A", "trust", "--no-locale", "-E", "UTF8")
        settings = f"-c listen_addresses='' -k {folder} -c shared_buffers=64MB -c max_connections=500 -c fsync=off"  # for tests on every processor
        run(BIN / "pg_ctl", "-D", data, "-w", "-t", "300", "-l", folder / "log", "-o", settings, "start")
        try:
            run(BIN / "createdb", "-h", folder, "-U", "test", "test")
            yield f"host={folder} user=test dbname=test"
        finally:
            run(BIN / "pg_ctl", "-D", data, "-m", "fast", "-w", "-t", "300", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
