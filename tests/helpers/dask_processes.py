"""A real `dask scheduler` and real `dask worker` processes on loopback, which end with the test."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests import ROOT

# Once is enough to see that a batch kills its worker, and nobody waits for processes that were killed.
SETTINGS = {
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "None",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s",
}


# Run in a worker: `code` makes `new` of `was`, and it takes the place of what is called `name`.
CHANGE = """
import pkgutil, sys
place, _, name = {name!r}.rpartition(".")
place = pkgutil.resolve_name(place)
was = getattr(place, name)
{code}
setattr(place, name, new)
sys.unchanged = place, name, was
"""
CHANGE_BACK = "import sys; setattr(*sys.unchanged)"


def changing(name: str, code: str) -> str:
    """Write a program that puts what `code` calls `new` in the place of the attribute with this dotted name."""
    return CHANGE.format(name=name, code=code)


class DaskProcesses:
    """Scheduler and workers; `address` and `file` are two names of the scheduler."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "scheduler.json"
        self.scheduler = self._start("scheduler", "--port", "0", "--scheduler-file", self.file)
        self.workers: list[subprocess.Popen[bytes]] = []
        self._wait_for("scheduler", "Registering Worker plugin")
        self.address = json.loads(self.file.read_text())["address"]

    def add_worker(self, preload: str = "", *options: str) -> "subprocess.Popen[bytes]":
        """Start a worker, and return when it has joined; `preload` is what it runs first."""
        name = f"worker{len(self.workers)}"
        options = (self.address, "--nthreads", "1", "--local-directory", str(self.folder), *(options or ["--no-nanny"]))
        if preload:
            # Dask runs it twice, once from a copy.
            once = "import sys\nif not hasattr(sys, 'preloaded'):\n    sys.preloaded = True\n"
            (self.folder / f"preload_{name}.py").write_text(once + textwrap.indent(preload, "    "))
            options += ("--preload", str(self.folder / f"preload_{name}.py"))
        worker = self._start("worker", *options, log=name)
        self.workers.append(worker)
        self._wait_for(name, "Registered to")
        return worker

    @contextmanager
    def changed(self, name: str, code: str, *workers: int) -> Iterator[None]:
        """Have running workers changed as `changing` says, all of them or those of these numbers."""
        self.run(changing(name, code), *workers)
        yield
        self.run(CHANGE_BACK, *workers)

    def run(self, code: str, *workers: int) -> None:
        """Run a program in the workers of these numbers, or in all."""
        import distributed

        addresses = [self.address_of(number) for number in workers] or None
        with distributed.Client(self.address, set_as_default=False) as client:
            client.run(exec, code, {}, workers=addresses)

    def address_of(self, worker: int) -> str:
        return self.log(f"worker{worker}").split("Start worker at:")[1].split()[0]

    def stop_workers(self, first: int = 0) -> None:
        """End the workers from this number on."""
        _kill(self.workers[first:])
        del self.workers[first:]

    def stop(self) -> None:
        _kill([*self.workers, self.scheduler])

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def _start(self, what: str, *arguments: Any, log: str = "") -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *map(str, arguments), "--no-dashboard"]
        host = ["--host", "127.0.0.1"]
        with (self.folder / f"{log or what}.log").open("wb") as file:
            # In a group of its own, so that a nanny's worker can be ended with it.
            return subprocess.Popen(
                [*command, *host],
                cwd=self.folder,
                stdout=file,
                stderr=file,
                env={**os.environ, **SETTINGS, "PYTHONPATH": str(ROOT)},
                start_new_session=True,
            )

    def _wait_for(self, name: str, line: str) -> None:
        deadline = time.monotonic() + 120
        while line not in self.log(name):
            assert time.monotonic() < deadline, self.log(name)
            time.sleep(0.01)


def _kill(processes: "list[subprocess.Popen[bytes]]") -> None:
    for process in processes:
        # Also when it has ended: its worker may live on.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
