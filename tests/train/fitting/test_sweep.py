"""sweep: every combination once, in one process, and on where an earlier sweep stopped."""

import json
import pickle
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from filelock import FileLock
from typer.testing import CliRunner

from cache.shared.errors import Interrupted, UserError
from tests.helpers.tables import table
from tests.helpers.tiny import OF_FIT
from train.__main__ import app
from train.fitting import sweep as sweeps
from train.fitting.options import Options
from train.fitting.sweep import Job, Outcome, sweep
from train.models.recipes import default_epochs, recipe
from train.runs.record import Record, read_record

N_CLIPS = 100
OPTIONS = Options(**OF_FIT)


@pytest.fixture
def expanded(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Options]]:
    """The options of all runs that a command line asks for."""
    asked: list[Options] = []
    monkeypatch.setattr("cache.open_cache", lambda _file: SimpleNamespace(n_clips=N_CLIPS, class_names=("dog", "cat")))
    monkeypatch.setattr(sweeps, "sweep", lambda _cache, options, *_: asked.extend(options) or [])

    def expand(*arguments: str) -> list[Options]:
        asked.clear()
        done = CliRunner().invoke(app, ["sweep", "f.h5", *arguments], standalone_mode=False)
        if done.exception:
            raise done.exception
        return list(asked)

    return expand


def test_a_grid_is_every_combination_and_other_options_hold_for_all(expanded: Callable[..., list[Options]]) -> None:
    found = expanded("--grid", "model=baseline,compact seed=0,1 learning-rate=1e-3,3e-4", "--batch-size", "8")
    assert [(one.model, one.seed, one.learning_rate) for one in found] == [
        (model, seed, rate) for model in ("baseline", "compact") for seed in (0, 1) for rate in (1e-3, 3e-4)
    ]
    assert {one.batch_size for one in found} == {8}
    assert {(one.model, one.epochs) for one in found} == {
        (name, default_epochs(recipe(name), N_CLIPS, 2, 8)) for name in ("baseline", "compact")
    }


def test_default_leaves_an_option_out_and_what_is_the_same_is_run_once(expanded: Callable[..., list[Options]]) -> None:
    found = expanded("--grid", r"epochs=default,15,3 class-weight=default,balanced group-by='(\w) x'")
    assert [(one.epochs, one.class_weight) for one in found] == [
        (15, None),
        (15, "balanced"),
        (3, None),
        (3, "balanced"),
    ]
    assert {one.group_by for one in found} == {r"(\w) x"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--grid", "sede=1"], "there is no key 'sede'; there are batch-size, "),
        (["--grid", "deterministic=1"], "there is no key"),
        (["--grid", "seed=0,one"], "seed=one"),
        (["--grid", "epochs=0"], "epochs=0"),
        (["--grid", "class-weight=heavy"], "class-weight=heavy"),
        (["--grid", "seed=1,"], "empty value"),
        (["--grid", "seed"], "has no values"),
        (["--grid", "seed=1 seed=2"], "twice"),
        (["--grid", "group-by='x"], "not closed"),
        (["--grid", ""], "empty"),
        (["--grid", "seed=1,2", "--seed", "3"], "given as an option too"),
        (["--grid", "model=nonsense"], "there is no model 'nonsense'"),
    ],
)
def test_a_mistake_in_the_grid_is_named(
    arguments: list[str], complaint: str, expanded: Callable[..., list[Options]]
) -> None:
    with pytest.raises((UserError, typer.BadParameter)) as error:
        expanded(*arguments)
    assert complaint in getattr(error.value, "message", str(error.value))


def through_pickle(run_one: Callable[[Job], Outcome], jobs: Iterable[Job]) -> Iterator[Outcome]:
    """As a pool of processes would run them: everything on its way there and back is pickled."""

    def copy(thing: Any) -> Any:
        return pickle.loads(pickle.dumps(thing))

    return (copy(copy(run_one)(copy(job))) for job in jobs)


def in_epochs(log: Path, scalar: str) -> dict[int, float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    events = EventAccumulator(str(log))
    events.Reload()
    return {event.step: float(make_ndarray(event.tensor_proto)) for event in events.Tensors(scalar)}


def test_a_sweep_goes_on_where_it_was_interrupted_and_every_epoch_is_in_the_logs(
    tiny: str, tones_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from train.fitting import loop

    folder = tmp_path / "sweep"
    wanted = [replace(OPTIONS, epochs=2, seed=seed, deterministic=False) for seed in (0, 1)]
    shuffle = loop.Batches.shuffle

    def interrupt(batches: Any, seed: int, epoch: int) -> None:
        if (seed, epoch) == (1, 1):
            raise Interrupted(15)
        shuffle(batches, seed, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Batches, "shuffle", interrupt)
        with pytest.raises(Interrupted) as stop:
            sweep(tones_cache, wanted, folder, tensorboard=True)
    assert "give the same command again" in stop.value.kept
    before = (folder / "tiny-seed-0" / "run.json").read_bytes()
    trained: list[tuple[int, int]] = []
    monkeypatch.setattr(loop.Batches, "shuffle", lambda b, *at: (trained.append(at), shuffle(b, *at)))

    outcomes = sweep(tones_cache, wanted, folder, tensorboard=True, run_all=through_pickle)

    assert trained == [(1, 1)]
    assert [outcome.folder.name for outcome in outcomes] == ["tiny-seed-0", "tiny-seed-1"]
    assert (folder / "tiny-seed-0" / "run.json").read_bytes() == before
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["tiny-seed-0", "tiny-seed-1"]
    for outcome in outcomes:
        assert outcome.record == read_record(outcome.folder)
        history = table(outcome.folder / "history.csv")
        for column, log, scalar in (
            ("loss", "train", "epoch_loss"),
            ("accuracy", "train", "epoch_accuracy"),
            ("val_loss", "validation", "epoch_loss"),
            ("val_accuracy", "validation", "epoch_accuracy"),
        ):
            logged = in_epochs(outcome.folder / "tensorboard" / log, scalar)
            assert logged == {i: pytest.approx(float(row[column])) for i, row in enumerate(history)}


def test_a_run_that_fails_is_named_and_does_not_stop_the_others(
    tiny: str, tones_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fit(cache: Path, folder: Path, *, seed: int, **_: Any) -> tuple[Path, Record]:
        if seed == 0:
            raise UserError("the loss is nan")
        return folder, {"metrics": None, "seconds": 1.0}

    monkeypatch.setattr(sweeps, "fit", fit)
    monkeypatch.setattr("train.report.report.report_finished", lambda folder: None)
    failed, whole = sweep(tones_cache, [replace(OPTIONS, seed=seed) for seed in (0, 1)], tmp_path)
    assert (failed.record, failed.reason) == (None, "the loss is nan")
    assert whole.record is not None
    assert "tiny-seed-0: the loss is nan" in capsys.readouterr().err


def test_runs_of_other_options_or_another_cache_are_neither_reused_nor_written_over(
    run: Path, tiny: str, tones_cache: Path, tmp_path: Path
) -> None:
    wanted = [OPTIONS, replace(OPTIONS, seed=7)]
    record = json.loads((run / "run.json").read_text())
    other = {**record, "cache": {**record["cache"], "fingerprint": "0" * 64}}
    for name, content in (("tiny-seed-0", other), ("mine", record)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps(content))
    (tmp_path / "tiny-seed-7").mkdir()
    (tmp_path / "tiny-seed-7" / "notes.txt").write_text("mine")
    asked: list[Job] = []

    def run_all(_: Any, jobs: Iterable[Job]) -> Iterator[Outcome]:
        for job in jobs:
            asked.append(job)
            yield Outcome(job.folder, None, "not run")

    done, _ = sweep(tones_cache, wanted, tmp_path, run_all=run_all)
    assert done.folder == tmp_path / "mine"
    assert [(job.options, job.folder) for job in asked] == [(wanted[1], tmp_path / "tiny-seed-7-2")]


def test_two_sweeps_do_not_work_in_one_folder(tiny: str, tones_cache: Path, tmp_path: Path) -> None:
    with (
        FileLock(tmp_path / ".sweep.lock"),
        pytest.raises(UserError, match="is at work on another sweep in"),
    ):
        sweep(tones_cache, [OPTIONS], tmp_path)


def test_a_cache_that_changes_during_the_sweep_fails_the_runs_that_are_left(tones_cache: Path, tmp_path: Path) -> None:
    outcome = sweeps.run_one(Job(tones_cache, "0" * 64, tmp_path / "run", OPTIONS, False, ""))
    assert "has changed since the sweep began" in outcome.reason
    assert not (tmp_path / "run").exists()
