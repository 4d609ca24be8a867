"""The commands as a user starts them: as processes of their own, or where that costs too much as if they were."""

import io
import os
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT


def featurize(data: Path, cache_file: Path, *arguments: str) -> Path:
    """Make the cache, which is expected to go well."""
    command = [sys.executable, "-m", "featurize", str(data), "--cache", str(cache_file), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return cache_file


def train(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "train", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


def train_here(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """As `train`, but in this process, which has TensorFlow: that saves its four seconds of imports."""
    from train.__main__ import app

    return _here(app, "train", arguments)


def featurize_here(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """As a process of `python -m featurize`; its only worker is a thread, because a process with threads forks none."""
    from featurize.__main__ import app

    return _here(app, "featurize", (*arguments, *([] if "--jobs" in arguments else ["--jobs", "1"])))


def cache_here(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    from cache.__main__ import app

    return _here(app, "cache", arguments)


def _here(app: Any, package: str, arguments: tuple[str | Path, ...]) -> "subprocess.CompletedProcess[str]":
    """Run a command; working directory, standard input and what is imported are those of the tests."""
    from cache.shared.cli import run

    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", [package, *map(str, arguments)])
        patch.setattr(sys, "unraisablehook", sys.unraisablehook)
        # A command has it write to stderr, which here is not a file of the system.
        patch.setattr("faulthandler.is_enabled", lambda: False)
        with pytest.raises(SystemExit) as end:
            run(app, f"python -m {package}")
    for signum, handler in handlers.items():
        signal.signal(signum, handler)
    out.flush()
    err.flush()
    said = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    return subprocess.CompletedProcess(sys.argv, end.value.code, *said)


class Command(subprocess.Popen):
    """A process that ends with its block, whatever happens there; its workers leave with it."""

    def __exit__(self, *error: Any) -> None:
        if error[0] is not None:
            self.kill()
        super().__exit__(*error)


def start(*arguments: Any, code: str = "", **options: Any) -> Command:
    """`python -m featurize` with these arguments; `code` runs in it first."""
    run = "import sys, runpy; sys.argv[0] = 'featurize'; runpy.run_module('featurize', run_name='__main__')"
    command = [sys.executable, *(["-c", f"{code}\n{run}"] if code else ["-m", "featurize"]), *map(str, arguments)]
    # As the command itself sees to, unless `code` has loaded numpy before: with threads it would not be forked.
    options.setdefault("env", {**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    return Command(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def complaints(err: str) -> list[str]:
    """The lines of stderr without the notices of a run that goes well."""
    notices = (" to compute; needs up to", "of rows, which this file system cannot share")
    return [line for line in err.splitlines() if not any(notice in line for notice in notices)]


def wait_for_rows(data: Path, process: Command, n_rows: int) -> None:
    """Wait until the run has finished more than so many rows of DATA/features.h5."""
    journal = data / "features.h5.partial.journal"
    while not (journal.exists() and journal.read_bytes().count(b"\n") > n_rows):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.001)
