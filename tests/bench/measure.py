"""Measure two sides in turns, so that a machine whose speed drifts slows both, and keep the medians."""

import io
import os
import resource
import statistics
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests import ROOT


class Pair(NamedTuple):
    """Medians of both sides, and the median, least and greatest of their ratios pair by pair."""

    ours: float
    theirs: float
    ratio: float
    least: float
    greatest: float


def in_turns(ours: Callable[[], float], theirs: Callable[[], float], n_pairs: int) -> Pair:
    """Measure A B A B ..; the ratio is ours to theirs."""
    pairs = [(ours(), theirs()) for _ in range(n_pairs)]
    ratios = [a / b for a, b in pairs]
    a, b = (statistics.median(side) for side in zip(*pairs, strict=True))
    return Pair(a, b, statistics.median(ratios), min(ratios), max(ratios))


def run(*command: str, code: Path = ROOT) -> str:
    """Run a Python module of the project, or of other code of it, to its end and return what it printed."""
    done = subprocess.run([sys.executable, *command], cwd=code, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout


def earlier(scratch: Path, commit: str) -> Path | None:
    """Write the code of an earlier commit into a folder, once; None if there is no history to take it from."""
    folder = scratch / f"code-{commit}"
    if not folder.exists():
        done = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=False)
        if done.returncode:
            return None
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            archive.extractall(folder, filter="data")
    return folder


def printed(*command: str) -> float:
    """Return the number that a module prints."""
    return float(run(*command).strip().splitlines()[-1])


def seconds(*command: str, code: Path = ROOT) -> float:
    """Return how long a whole process takes, by other code of the project if it is given."""
    # Data that the run before has left to be written would slow this one.
    os.sync()
    started = time.perf_counter()
    run(*command, code=code)
    return time.perf_counter() - started


def processor_seconds(*command: str) -> float:
    """Return the processor time of a whole process, which other programs change less than how long it takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(*command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def peak_anonymous(*command: str) -> int:
    """Return the greatest anonymous memory of a process in bytes, read while it runs (Linux)."""
    process = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, _anonymous(process.pid))
        time.sleep(0.02)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}")
    return peak


def _anonymous(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


def peak_memory(*command: str) -> int:
    """Return the greatest memory of a process and its children in bytes: shared pages once, the page cache not.

    The proportional set size of anonymous and shared-memory pages, read while it runs.
    """
    process = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    peak = 0
    done = threading.Event()
    threading.Thread(target=lambda: (process.wait(), done.set()), daemon=True).start()
    while not done.wait(0.02):
        peak = max(peak, sum(_private(pid) for pid in _family(process.pid)))
    return peak


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(member for child in children for member in _family(int(child)))]


def _private(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    # Pss counts a page that n processes share as 1/n for each of them.
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def machine() -> str:
    """Return the processor and how many of its cores there are."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = os.uname().machine
    return f"{model}, {os.cpu_count()} cores"
