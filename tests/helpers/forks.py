"""Runs of `python -m featurize` as forks of a process that has it loaded: each without half a second of imports.

A run is a process of its own with the exit of a real one, and may be stopped by any signal. Its imports are there
before its `code` runs, and its command line is that of the server.
"""

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from tests import ROOT


class Fork:
    """A run, with what tests need of subprocess.Popen; it ends with its block, whatever happens there."""

    def __init__(self, arguments: list[str], code: str, start_new_session: bool) -> None:
        self.returncode: int | None = None
        self.stdout, self.stderr = (tempfile.TemporaryFile("w+", encoding="utf-8") for _ in range(2))  # noqa: SIM115
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._server.connect(_address())
        request = json.dumps([arguments, code, start_new_session]).encode()
        socket.send_fds(self._server, [request], [self.stdout.fileno(), self.stderr.fileno()])
        self.pid = int(self._server.recv(20))

    def __enter__(self) -> "Fork":
        return self

    def __exit__(self, *error: Any) -> None:
        if self.poll() is None:
            self.kill()
        self.wait(60)
        for file in (self.stdout, self.stderr, self._server):
            file.close()

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._server], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("featurize", timeout or 0)
            self.returncode = int(self._server.recv(20))
        return self.returncode

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        said = []
        for file in (self.stdout, self.stderr):
            file.seek(0)
            said.append(file.read())
        return said[0], said[1]

    def send_signal(self, signum: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, signum)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def fork(*arguments: Any, code: str = "", start_new_session: bool = False) -> Fork:
    """`python -m featurize` with these arguments, as a fork; `code` runs in it first."""
    return Fork(list(map(str, arguments)), code, start_new_session)


@cache
def _address() -> str:
    """Start the server of this process, which ends with it, and return its address."""
    address = str(Path(tempfile.mkdtemp()) / "server")
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.helpers.forks", address]
    server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, env=environment)
    atexit.register(server.kill)
    while not os.path.exists(address):  # noqa: PTH110
        assert server.poll() is None
        time.sleep(0.01)
    return address


def _serve(address: str) -> None:
    from tests.helpers.faults import load_command

    load_command()
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.bind(f"{address}.new")
    server.listen()
    os.rename(f"{address}.new", address)  # noqa: PTH104
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # Until the process that started it has gone, and with it the other end of stdin.
    while server in select.select([server, sys.stdin], [], [])[0]:
        connection, _ = server.accept()
        if os.fork() == 0:
            server.close()
            _keep(connection)
        connection.close()


def _keep(connection: socket.socket) -> NoReturn:
    """Fork the run, and say its process and then its end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, files, _, _ = socket.recv_fds(connection, 1 << 16, 2)
    arguments, code, own_session = json.loads(request)
    if pid := os.fork():
        connection.send(str(pid).encode())
        _, status = os.waitpid(pid, 0)
        connection.send(str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    connection.close()
    if own_session:
        os.setsid()
    for number, file in enumerate(files, 1):
        os.dup2(file, number)
        os.close(file)
    sys.argv = ["featurize", *arguments]
    exec(code, {})
    from cache.shared.cli import called, run
    from featurize.__main__ import KEPT, app

    run(app, called("featurize"), KEPT)


if __name__ == "__main__":
    _serve(sys.argv[1])
