"""The commands as processes of their own, as a user starts them."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

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
