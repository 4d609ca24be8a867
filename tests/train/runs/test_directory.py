"""A run directory: what is written is read back, and so is what earlier versions wrote."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cache import open_cache
from cache.shared.errors import UserError
from tests.helpers.made_runs import made_crossval, made_fit
from train.runs.record import UNFINISHED, read_record, write_record
from train.runs.tables import read_history, read_predictions, read_split, write_history


@pytest.fixture(scope="module")
def made(tones_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_fit(tmp_path_factory.mktemp("made") / "run", tones_cache)


def test_the_split_table_names_every_clip_its_content_and_its_side(made: Path, tones_cache: Path) -> None:
    cache = open_cache(tones_cache)
    clips = read_split(made)
    assert [clip.path for clip in clips] == cache.paths
    assert [clip.sha256.encode() for clip in clips] == cache.columns["sha256"].tolist()
    sides = [clip.split for clip in clips]
    assert {side: sides.count(side) for side in ("train", "val", "test")} == {
        side: part.n for side, part in read_record(made).split.items()
    }


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
    names = ["dog", "cat", "bird"]
    assert set(read_predictions(made, names).repeat) == {1}
    tested = read_predictions(folder, names)
    assert tested.repeat.tolist() == [1] * 48 + [2] * 48
    assert [names[label] for label in tested.labels] == [path.split("/")[0] for path in tested.paths]
    assert (tested.predicted == tested.probabilities.argmax(axis=1)).all()
    first = tested.first_repeat
    assert (first.paths, first.n_tests.tolist()) == (tested.paths, [1] * 48)
    assert (first.probabilities == tested.probabilities[:48]).all()
    np.testing.assert_allclose(tested.mean, (tested.probabilities[:48] + tested.probabilities[48:]) / 2)


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
