"""Folds and runs on a cluster of real Dask processes come to what they come to on this machine."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.amounts import amount
from tests.helpers.commands import train_here
from tests.helpers.dask_processes import DaskProcesses, changing
from tests.helpers.tables import table

pytest.importorskip("distributed", reason="the extra `cluster` is not installed")


pytestmark = pytest.mark.usefixtures("tiny")

# The processes in which a worker fits do not know it.
KNOWING_TINY = """
from functools import partial
from tests.helpers.tiny import knowing_tiny
def new(needs, function, job): return was(needs, partial(knowing_tiny, function), job)
"""


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskProcesses]:
    """A scheduler and a worker, which has more threads than one."""
    processes = DaskProcesses(tmp_path_factory.mktemp("dask"))
    processes.add_worker(changing("train.fitting.worker._work", KNOWING_TINY), "--no-nanny", "--nthreads", "2")
    yield processes
    processes.stop()


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in record.items() if name not in ("run", "started", "seconds")}
    return kept | {"folds": [{**fold, "seconds": 0} for fold in record.get("folds", ())]}


MODELS = ("tiny", "compact")[: amount(1, 2)]
OF_FIT = ("--epochs", "1", "--batch-size", "16", "--val", "0.2", "--deterministic")
TINY = ("--model", "tiny", *OF_FIT)


@pytest.mark.parametrize("model", MODELS)
def test_a_cross_validation_on_a_cluster_is_the_local_one_to_the_bit(
    dask: DaskProcesses, tones_cache: Path, tmp_path: Path, model: str
) -> None:
    command = ("crossval", tones_cache, "--folds", "2", "--model", model, *OF_FIT, "--json", "--run")
    here = train_here(*command, tmp_path / "here")
    there = train_here(*command, tmp_path / "there", "--scheduler", dask.file, "--dashboard")
    assert (here.returncode, there.returncode) == (0, 0), here.stderr + there.stderr + dask.log("worker0")
    said = [line for line in there.stderr.splitlines() if not line.startswith("warning: ")]
    assert [line.split("127")[0] for line in said] == ["dashboard: http://"]
    for name in ("history.csv", "predictions.csv"):
        assert table(tmp_path / "there" / name) == table(tmp_path / "here" / name)
    assert without_times(json.loads(there.stdout)) == without_times(json.loads(here.stdout))


def test_a_sweep_on_a_cluster_leaves_whole_runs_where_it_was_told(
    dask: DaskProcesses, tones_cache: Path, tmp_path: Path
) -> None:
    # Relative to a working directory that the worker does not have.
    runs = os.path.relpath(tmp_path / "sweep")
    done = train_here("sweep", tones_cache, "--grid", "seed=5", *TINY, "--runs", runs, "--scheduler", dask.address)
    assert done.returncode == 0, done.stderr + dask.log("worker0")
    (run,) = (tmp_path / "sweep").glob("*/model.keras")
    record = json.loads((run.parent / "run.json").read_text())
    assert (record["state"], record["options"]["seed"]) == ("finished", 5)


def test_a_worker_that_cannot_see_the_cache_or_has_other_code_is_named_before_work(
    dask: DaskProcesses, tones_cache: Path, tmp_path: Path
) -> None:
    blind = (
        "def new(path, *rest, **options):\n"
        f"    if str(path) == {str(tones_cache)!r}: raise PermissionError(13, 'Permission denied', str(path))\n"
        "    return was(path, *rest, **options)\n"
    )
    for name, code, complaint in (
        (
            "pathlib.Path.open",
            blind,
            f"cannot read {tones_cache} (Permission denied); every worker must see it under this name",
        ),
        (
            "train.fitting.worker.__file__",
            "new = '/nowhere/fit/dask.py'",
            "has training code e3b0c44298fc, and this machine has ",
        ),
    ):
        with dask.changed(name, code):
            done = train_here("crossval", tones_cache, *TINY, "--run", tmp_path / "run", "--scheduler", dask.address)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"python -m train: worker {dask.address_of(0)} {complaint}")
        assert not (tmp_path / "run").exists()


def test_a_fold_that_ends_its_process_or_its_workers_and_a_scheduler_that_goes_are_one_line_each(
    tones_cache: Path, tmp_path: Path
) -> None:
    dask = DaskProcesses(tmp_path)
    end = "import os, time\ndef new(*rest): {how}"
    work = "train.fitting.worker._work"
    try:
        for name, code, complaint in (
            ("sys.executable", "new = '/bin/false'", "a run on worker tcp://127.0.0.1:"),
            (work, end.format(how="os._exit(1)"), "a run ended its workers, one after another"),
            (work, end.format(how=f"os.kill({dask.scheduler.pid}, 9); time.sleep(60)"), "has gone; start it"),
        ):
            if not any(worker.poll() is None for worker in dask.workers):
                dask.add_worker()
            dask.run(changing(name, code))
            done = train_here(
                "crossval", tones_cache, *TINY, "--run", tmp_path / complaint[-7:], "--scheduler", dask.file
            )
            assert done.returncode == 1
            assert complaint in done.stderr
            assert len(done.stderr.splitlines()) == 1, done.stderr
    finally:
        dask.stop()


def test_the_dashboard_is_that_of_a_cluster(tones_cache: Path) -> None:
    done = train_here("crossval", tones_cache, "--dashboard")
    assert done.returncode == 2
    assert "name it with --scheduler" in done.stderr
