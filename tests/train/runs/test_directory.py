"""A run directory: what is written is read back, and so is what earlier versions wrote."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cache import open_cache
from cache.shared.errors import UserError
from tests.helpers.made_runs import made_crossval, made_fit
from train.report.report import write_report
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
    assert tested.n_tests.tolist() == [2] * 48
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


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("history.csv", "", "its column epoch is missing"),
        ("history.csv", "epoch,loss,accuracy\n-1,0.5,0.5\n", "epoch is -1"),
        ("history.csv", "epoch,loss,accuracy\n1,0.5,-0.5\n", "accuracy is -0.5"),
        ("history.csv", "epoch,loss,accuracy\n1,much,0.5\n", "could not convert"),
        ("history.csv", "epoch,loss,accuracy\n1,0.5\n", "row 1 has 2 cells, expected 3"),
        ("history.csv", "epoch,loss,accuracy,val_loss\n1,0.5,1,1\n", "val_loss and val_accuracy"),
        ("predictions.csv", "", "it has no predictions"),
        ("predictions.csv", "path,class,predicted,p_dog,p_cat,p_bird\n", "it has no predictions"),
        ("predictions.csv", "path,class,predicted,p_dog,p_cat\na,dog,dog,1,0\n", "its column p_bird is missing"),
        ("predictions.csv", "path,class,predicted,p_dog,p_cat,p_bird\na,owl,dog,1,0,0\n", "'owl' is not a class"),
        ("predictions.csv", "path,class,predicted,p_dog,p_cat,p_bird\na,dog,dog,nan,0,0\n", "not between 0 and 1"),
        ("predictions.csv", "path,class,predicted,p_dog,p_cat,p_bird\na,dog,dog,7,0,0\n", "not between 0 and 1"),
        ("predictions.csv", 'path,class,predicted,p_dog,p_cat,p_bird\n"a,dog,dog,1,0,0\n', "unexpected end of data"),
        (
            "predictions.csv",
            "path,class,predicted,p_dog,p_cat,p_bird\na,dog,dog,1,0,0\na,cat,dog,1,0,0\n",
            "a clip has two classes",
        ),
        ("predictions.csv", "repeat,path,class,predicted,p_dog,p_cat,p_bird\n0,a,dog,dog,1,0,0\n", "repeat is 0"),
    ],
)
def test_a_table_that_makes_no_sense_is_one_line(
    name: str, content: str, complaint: str, made: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(made, tmp_path / "run"))
    (folder / name).write_text(content)
    with pytest.raises(UserError) as error:
        write_report(folder)
    said = str(error.value)
    assert said.startswith(f"{folder / name} is damaged: ")
    assert complaint in said
    assert len(said.splitlines()) == 1
