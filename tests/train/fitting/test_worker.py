"""Calls in processes of their own: several at a time, in order, and one line when a process ends."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from cache.shared.errors import UserError
from tests.helpers.commands import ROOT, train_here
from train.fitting.worker import Worker, local_map


def fail(reason: str) -> None:
    raise UserError(reason)


def test_calls_are_made_in_other_processes_and_their_results_come_in_order() -> None:
    with local_map(2, deterministic=False) as run_all:
        assert list(run_all(partial(divmod, 100), range(1, 8))) == [divmod(100, n) for n in range(1, 8)]
        assert os.getpid() not in set(run_all(_pid, range(4)))


def _pid(_: int) -> int:
    return os.getpid()


def test_an_error_of_a_call_and_the_end_of_a_process_are_one_line_and_no_process_stays() -> None:
    with local_map(2, deterministic=False) as run_all, pytest.raises(UserError, match=r"^the loss is nan$"):
        list(run_all(fail, ["the loss is nan"] * 3))
    with local_map(2, deterministic=False) as run_all, pytest.raises(UserError, match="a run was ended by signal 9"):
        list(run_all(partial(_kill, signal.SIGKILL), range(3)))
    with local_map(1, deterministic=False) as run_all:
        (pid,) = run_all(_pid, [0])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def _kill(signum: int, _: int) -> None:
    os.kill(os.getpid(), signum)


def test_a_process_ends_with_the_one_that_started_it() -> None:
    code = (
        "import os; from train.fitting.worker import Worker; worker = Worker()\n"
        "print(worker.call(os.getpid), flush=True); os._exit(1)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    for _ in range(600):
        try:
            os.kill(int(done.stdout), 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("it is still there")


def test_a_result_counts_however_long_its_process_takes_to_end() -> None:
    worker = Worker()
    assert worker.call(partial(divmod, 7, 2)) == (3, 1)
    worker.end()
    assert worker.process.returncode == -signal.SIGKILL


def test_a_cluster_has_workers_of_its_own(tones_cache: Path) -> None:
    done = train_here("crossval", tones_cache, "--jobs", "2", "--scheduler", "tcp://127.0.0.1:1")
    assert done.returncode == 2
    assert "leave out --jobs" in done.stderr
