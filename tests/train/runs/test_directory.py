"""A run directory: what is written is read back, and so is what earlier versions wrote."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cache import open_cache
from cache.file.layout import FORMAT_VERSION, SINCE
from cache.file.settings import SETTINGS
from cache.shared.errors import UserError
from tests.helpers.made_runs import made_crossval, made_fit
from train.report.report import write_report
from train.runs.directory import open_run
from train.runs.record import UNFINISHED, read_record, write_record
from train.runs.tables import read_history, read_predictions, read_split, write_history
from train.score.compare import compare
from train.score.evaluate import evaluate


@pytest.fixture(scope="module")
def made(tones_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_fit(tmp_path_factory.mktemp("made") / "run", tones_cache)


def as_before(run: Path, folder: Path) -> Path:
    """The same run with path and split in one file and sha256 and split in another, as earlier versions left it."""
    shutil.copytree(run, folder)
    with (run / "split.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    for name, column in (("split.csv", "path"), ("content.csv", "sha256")):
        lines = [f"{column},split", *(f"{row[column]},{row['split']}" for row in rows)]
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def test_the_split_table_names_every_clip_its_content_and_its_side(made: Path, tones_cache: Path) -> None:
    cache = open_cache(tones_cache)
    clips = read_split(made)
    assert [clip.path for clip in clips] == cache.paths
    assert [clip.sha256.encode() for clip in clips] == cache.columns["sha256"].tolist()
    sides = [clip.split for clip in clips]
    assert {side: sides.count(side) for side in ("train", "val", "test")} == {
        side: part["n"] for side, part in read_record(made).split.items()
    }


def test_a_run_of_an_earlier_version_has_the_same_split(made: Path, tmp_path: Path) -> None:
    assert read_split(as_before(made, tmp_path / "old")) == read_split(made)


def test_a_run_of_an_earlier_version_is_scored_compared_and_reported_as_today(run: Path, tmp_path: Path) -> None:
    old = as_before(run, tmp_path / "old")
    now, before = evaluate(run, None), evaluate(old, None)
    assert {**before, "run": ""} == {**now, "run": ""}
    _, second = compare([run, old], "run").entries
    assert second.difference is not None
    assert second.difference.p == 1
    assert write_report(old).stat().st_size > 10_000


def test_a_run_from_before_a_setting_has_what_caches_of_its_time_have(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = open_run(made).settings
    monkeypatch.setitem(SETTINGS, "preemphasis", float)
    with pytest.raises(UserError, match="'preemphasis' is missing"):
        open_run(made)
    monkeypatch.setitem(SINCE, FORMAT_VERSION + 1, {"preemphasis": 0.0})
    assert open_run(made).settings == {**now, "preemphasis": 0.0}


def test_tables_of_an_earlier_version_that_do_not_belong_together_are_one_line(made: Path, tmp_path: Path) -> None:
    old = as_before(made, tmp_path / "old")
    lines = (old / "content.csv").read_text().splitlines(keepends=True)
    (old / "content.csv").write_text("".join(lines[:-1]))
    with pytest.raises(UserError, match="do not belong together"):
        read_split(old)
    (old / "content.csv").unlink()
    with pytest.raises(UserError, match=r"content\.csv is missing"):
        read_split(old)


def test_history_comes_back_to_the_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    history = [{"epoch": i, "loss": rng.random() / 3, "accuracy": rng.random()} for i in range(1, 5)]
    write_history(tmp_path, history)
    assert read_history(tmp_path) == history
    (tmp_path / "history.csv").write_text("epoch,loss\n1,much\n")
    with pytest.raises(UserError, match=r"history\.csv is damaged"):
        read_history(tmp_path)


def test_predictions_of_a_cross_validation_are_those_of_a_fit_with_repeat_and_fold_before(
    made: Path, tones_cache: Path, tmp_path: Path
) -> None:
    folder = made_crossval(tmp_path / "cv", tones_cache)
    header = (made / "predictions.csv").read_text().splitlines()[0]
    assert (folder / "predictions.csv").read_text().splitlines()[0] == f"repeat,fold,{header}"
    assert {row.repeat for row in read_predictions(made)} == {1}
    assert [row.repeat for row in read_predictions(folder)] == [1] * 48 + [2] * 48
    for row in read_predictions(folder):
        assert row.label == row.path.split("/")[0]
        assert row.predicted == max(row.probabilities, key=row.probabilities.__getitem__)


@pytest.mark.parametrize("make", [made_fit, made_crossval])
def test_the_record_comes_back_and_holds_nothing_of_another_command(
    make: object, tones_cache: Path, tmp_path: Path
) -> None:
    folder = (
        made_fit(tmp_path / "run", tones_cache) if make is made_fit else made_crossval(tmp_path / "run", tones_cache)
    )
    text = (folder / "run.json").read_text()
    write_record(folder, read_record(folder))
    assert (folder / "run.json").read_text() == text
    assert ("folds" in json.loads(text)) == ("split" not in json.loads(text)) == (make is made_crossval)


def test_an_unfinished_record_has_no_result_and_a_finished_one_says_that_there_is_no_score(
    made: Path, tmp_path: Path
) -> None:
    record = read_record(made)
    write_record(tmp_path, replace(record, state=UNFINISHED))
    assert not {"metrics", "seconds", "n_epochs"} & json.loads((tmp_path / "run.json").read_text()).keys()
    write_record(tmp_path, replace(record, metrics=None))
    assert json.loads((tmp_path / "run.json").read_text())["metrics"] is None
