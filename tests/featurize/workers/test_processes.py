"""Worker processes: forked while that is safe, by a server of their own where it is not, gone when they are done."""

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from cache import open_cache
from cache.file.settings import MelSettings
from cache.shared.errors import UserError
from featurize import build
from featurize.workers.processes import processes
from tests import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers are never forked")

# Counts the forks that Python itself makes of this process; its way to start the fork server is none.
FORKS = []
os.register_at_fork(before=lambda: FORKS.append(threading.active_count()))


@contextmanager
def another_thread():
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    yield
    end.set()
    thread.join()


def test_a_process_with_threads_is_not_forked_and_the_cache_is_the_same(tones, tones_cache, tmp_path):
    FORKS.clear()
    with another_thread():
        result = build(tones, tmp_path / "f.h5", n_jobs=2)
    assert FORKS == []
    assert result.n_computed == len(open_cache(tones_cache))
    assert result.cache.fingerprint == open_cache(tones_cache).fingerprint


SCRIPT = """
import sys
from pathlib import Path
{threads}
print("run", flush=True)
forks = []
import os, threading
os.register_at_fork(before=lambda: forks.append(len(os.listdir("/proc/self/task"))))
from featurize import build
build(Path({data!r}), Path({cache!r}), n_jobs=2)
print("forks of a process with so many threads:", *forks)
os._exit(0)
"""


@pytest.mark.parametrize(
    "threads", ["", "import threading, time; threading.Thread(target=time.sleep, args=[60]).start()"]
)
def test_a_script_without_a_guard_is_run_once_and_forks_only_before_it_has_threads(
    tones, tones_cache, tmp_path, threads
):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(threads=threads, data=str(tones), cache=str(tmp_path / "f.h5")))
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", script],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    n_forks = "" if threads else " 1 1"
    assert done.stdout == f"run\nforks of a process with so many threads:{n_forks}\n"
    assert open_cache(tmp_path / "f.h5").fingerprint == open_cache(tones_cache).fingerprint


@pytest.mark.parametrize("ends", ["well", "badly"])
def test_workers_and_their_threads_are_gone_when_their_block_ends(ends):
    threads, children = set(threading.enumerate()), set(multiprocessing.active_children())

    def compute():
        with processes(2, 100, MelSettings(), "float32", Path("no-rows")) as pool:
            if ends == "badly":
                pool.executor.submit(time.sleep, 60)
            assert pool.executor.submit(abs, -1).result(timeout=30) == 1
            if ends == "badly":
                raise UserError("a clip failed")

    started = time.monotonic()
    if ends == "badly":
        with pytest.raises(UserError, match="a clip failed"):
            compute()
    else:
        compute()
    assert time.monotonic() - started < 30
    assert set(threading.enumerate()) <= threads
    assert set(multiprocessing.active_children()) <= children


def test_a_worker_that_hangs_in_the_system_ends_the_run_in_words(monkeypatch):
    monkeypatch.setattr("featurize.workers.processes.END_SECONDS", 0.2)
    with processes(2, 100, MelSettings(), "float32", Path("no-rows")) as pool:
        pool.executor.submit(abs, -1).result(timeout=30)
        real, pool.executor.shutdown = pool.executor.shutdown, lambda **_: time.sleep(5)
        with pytest.raises(UserError, match=r"a worker hangs in the system, .* finished clips are kept"):
            pool.renew()
        pool.executor.shutdown = real


@pytest.mark.parametrize("threads", [False, True])
def test_a_crew_is_made_whole_again_and_computes_on(threads):
    with processes(2, 100, MelSettings(), "float32", Path("no-rows")) as pool:
        before = pool.executor
        with another_thread() if threads else np.errstate():
            pool.renew()
        assert pool.executor is not before
        assert pool.executor.submit(abs, -1).result(timeout=30) == 1
