"""A PostgreSQL server of its own on a free port of 127.0.0.1; Debian's package ``postgresql`` has the programs."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

NOT_INSTALLED = "PostgreSQL is not installed: apt-get install postgresql"
USER = "langflow"
PASSWORD = "s3cret/p@ss:word"


def programs() -> Path | None:
    """The folder with ``initdb`` and ``pg_ctl``: Debian has it in no path."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((each for each in reversed(folders) if (each / "pg_ctl").exists()), None)


class Server:
    """One server; to be started, and stopped, any number of times.

    Args:
        settings: Of postgresql.conf.
    """

    def __init__(self, **settings: str) -> None:
        folder = programs()
        assert folder is not None, NOT_INSTALLED
        self._programs = folder
        self._folder = Path(tempfile.mkdtemp(prefix="langflow-otel-pg-"))
        # As root it refuses to run.
        self._as_user: dict[str, Any] = {"user": "nobody"} if os.geteuid() == 0 else {}
        if self._as_user:
            shutil.chown(self._folder, "nobody")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        password = self._folder / "password"
        password.write_text(PASSWORD)
        self._data = self._folder / "data"
        self._run(
            "initdb", "-D", self._data, "-U", USER, "-A", "scram-sha-256", f"--pwfile={password}", "-N", "-E", "UTF8"
        )
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self._folder),
            "fsync": "off",
            **settings,
        }
        with (self._data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in options.items())

    def start(self) -> None:
        self._run("pg_ctl", "-D", self._data, "-l", self._folder / "log", "-w", "-t", "120", "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "-t", "120", "stop")

    def remove(self) -> None:
        """Stop it, and remove what it had."""
        if (self._data / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self._folder)

    def cpu_s(self) -> float:
        """CPU time that all its processes took so far."""
        import psutil

        pid = int((self._data / "postmaster.pid").read_text().split()[0])
        main = psutil.Process(pid)
        times = [main.cpu_times(), *(each.cpu_times() for each in main.children())]
        of_ended = times[0].children_user + times[0].children_system
        return of_ended + sum(each.user + each.system for each in times)

    def url(self, database: str = "postgres", user: str = USER, password: str = PASSWORD) -> str:
        from urllib.parse import quote

        return f"postgresql://{user}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [str(self._programs / program), *map(str, arguments)]
        # Not into pipes: what the server has open would keep them open.
        with tempfile.TemporaryFile() as output:
            ended = subprocess.run(command, stdout=output, stderr=output, cwd="/", **self._as_user)
            output.seek(0)
            assert ended.returncode == 0, output.read().decode()
