"""Calls in processes of their own: several at a time, in order, and one line when a process ends."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from cache.shared.errors import UserError
from tests.helpers.commands import ROOT, train_here
from train.fitting import worker as workers
from train.fitting.worker import Worker, free_memory, local_map, suitable


class Sized(NamedTuple):
    """A job of which nothing but its size matters."""

    work: int


def fail(reason: str) -> None:
    raise UserError(reason)


def test_calls_are_made_in_other_processes_and_their_results_come_in_order() -> None:
    with local_map(2, deterministic=False) as run_all:
        assert list(run_all(partial(divmod, 100), range(1, 8))) == [divmod(100, n) for n in range(1, 8)]
        assert os.getpid() not in set(run_all(_pid, range(4)))


def _pid(_: object) -> int:
    return os.getpid()


def test_without_a_number_of_jobs_little_work_stays_here_and_much_gets_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    with local_map(None, deterministic=False) as run_all:
        assert set(run_all(_pid, [Sized(480)] * 5)) == {os.getpid()}
        assert list(run_all(_pid, [])) == []
        assert os.getpid() not in set(run_all(_pid, [Sized(20_000)] * 3))


@pytest.mark.parametrize(
    ("n_cores", "memory", "work", "n"),
    [
        (16, 64e9, [20_000] * 5, 5),  # no more than there are jobs
        (2, 64e9, [20_000] * 5, 2),
        (16, 3.5e9, [20_000] * 5, 3),
        (16, 0.2e9, [20_000] * 5, 1),
        (16, 64e9, [2_000] * 5, 2),  # ten thousand clips together
        (16, 64e9, [700] * 5, 1),
        (16, 64e9, [], 1),
    ],
)
def test_every_process_has_a_core_and_memory_and_is_worth_its_start(
    n_cores: int, memory: float, work: list[int], n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: n_cores)
    monkeypatch.setattr(workers, "free_memory", lambda: int(memory))
    assert suitable([Sized(size) for size in work]) == n


@pytest.mark.parametrize(
    ("n_workers", "n_jobs", "n_cores", "n"),
    [(2, 4, 2, 1), (2, 5, 2, 2), (5, 5, 16, 3), (16, 17, 16, 2), (2, 2, 1, 1), (1, 3, 2, 2)],
)
def test_the_last_jobs_get_the_cores_that_nobody_else_uses_any_more(
    n_workers: int, n_jobs: int, n_cores: int, n: int
) -> None:
    assert workers._n_threads(n_workers, n_jobs, n_cores) == n


def test_free_memory_is_that_of_the_machine_or_of_its_container_where_that_is_less(tmp_path: Path) -> None:
    there_is = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert free_memory(tmp_path) == there_is
    assert 0 < free_memory() <= there_is
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal:  9000 kB\nMemAvailable:  5000 kB\n")
    assert free_memory(tmp_path) == 5000 * 1024
    group = tmp_path / "sys" / "fs" / "cgroup"
    group.mkdir(parents=True)
    for limit, free in (("max", 5000 * 1024), ("3000000", 2_000_000), ("900000", 0)):
        (group / "memory.max").write_text(f"{limit}\n")
        (group / "memory.current").write_text("1000000\n")
        assert free_memory(tmp_path) == free


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
