"""run.json: its bytes are those of every version, and an entry that makes no sense is named."""

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.file.settings import MelSettings
from cache.shared.errors import UserError
from train.commands.screen import run_summary
from train.models.calibration import fit_temperature
from train.report import sections
from train.runs.record import FINISHED, UNFINISHED, Record, TrainedOn, as_json, read_record, write_record
from train.runs.results import ClassScore, FoldSummary, LeakProbe, Score, Subset

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
CLASSES = ["dog", "Käuzchen"]
SCORE = Score(
    n=16,
    n_groups=5,
    accuracy=0.8125,
    interval=(0.5, 0.9375),
    macro_f1=0.75,
    per_class={"dog": ClassScore(1.0, 0.625, 0.75, 8), "Käuzchen": ClassScore(0.5, 1.0, 0.75, 8)},
    confusion=[[5, 3], [0, 8]],
)
OPTIONS = {
    **{"model": "compact", "epochs": 30, "batch_size": 32, "learning_rate": None, "seed": 7, "val": 0.25, "test": 0.25},
    **{"group_by": None, "deterministic": False},
}
SPLIT = {
    name: Subset(n, n // 2, {"dog": n // 2, "Käuzchen": n // 2})
    for name, n in (("train", 32), ("val", 16), ("test", 16))
}
OF_FIT: dict[str, Any] = {
    **{"split": SPLIT, "clip_duration": 1.25, "n_parameters": 1234, "n_epochs": 30, "best_epoch": 17},
    **{"validation_accuracy": 0.8125, "temperature": 0.75, "thresholds": {"dog": 0.25, "Käuzchen": 0.5}},
    "thresholds_of": "its 16 validation clips",
}
RESULTS: dict[str, Any] = {
    **{"metrics": SCORE, "sanity": {"majority class": SCORE}, "warnings": ["a doubt"], "seconds": 12.5},
    **{"leak_probe": LeakProbe(0.5, (0.25, 0.75), 0.5, leaks=False), "versions": {"python": "3.13.1"}},
}
FOLDS = [
    FoldSummary(1, fold, 24, 8, 32, 0.8125, {"majority class": 0.5}, n_epochs=30, best_epoch=9, seconds=6.25)
    for fold in (1, 2)
]


def start(state: Any, command: Any, options: dict[str, Any], **others: Any) -> Record:
    cache = TrainedOn("/clips/features.h5", "f" * 8, 64, "float16", ".", {"numpy": "2.4.6"})
    began = "2026-03-04T05:06:07+00:00"
    return Record(state, command, began, CLASSES, MelSettings().as_dict(), 2, cache, options, **others)


FIT = start(FINISHED, "fit", OPTIONS, **OF_FIT, **RESULTS)
CROSSVAL = start(FINISHED, "crossval", OPTIONS | {"folds": 2, "repeats": 1}, n_groups=20, folds=FOLDS, **RESULTS)
BEGUN = start(UNFINISHED, "fit", OPTIONS, split=SPLIT, clip_duration=1.25)
# The sha256 of the bytes that the version before these types wrote for the same values.
PINNED = {
    "fit": "d2915ede48a046e5dc5a61f8cc109c254ca465595a769332498e8e2e1f0d1a76",
    "crossval": "2f2a5cccb127194987ae3591cc1952998eb4f5f76c3ee52cbca61743f5da80ba",
    "begun": "69d3bce359a932ac0511b415f7c6fa8dff603ef0cddc157dd2aeaed12aa3201a",
}
RECORDS = {"fit": FIT, "crossval": CROSSVAL, "begun": BEGUN}


@pytest.mark.parametrize("name", RECORDS)
def test_the_bytes_of_a_record_are_pinned_and_come_back_as_the_same_record(name: str, tmp_path: Path) -> None:
    write_record(tmp_path, RECORDS[name])
    content = (tmp_path / "run.json").read_bytes()
    assert hashlib.sha256(content).hexdigest() == PINNED[name]
    assert read_record(tmp_path) == RECORDS[name]


def test_json_has_the_score_beside_the_rest_and_nothing_twice(tmp_path: Path) -> None:
    shown = json.loads(json.dumps(as_json(tmp_path, FIT)))
    assert list(shown)[:8] == ["run", *asdict(SCORE)]
    assert "metrics" not in shown
    assert (shown["accuracy"], shown["interval"], shown["temperature"]) == (0.8125, [0.5, 0.9375], 0.75)


def test_a_record_shows_itself_on_a_line() -> None:
    assert repr(FIT) == "<Record: finished fit of compact, 64 clips, 2 classes, accuracy 0.812>"
    assert repr(BEGUN) == "<Record: unfinished fit of compact, 64 clips, 2 classes>"


def changed(folder: Path, record: Record, *path: Any, to: Any) -> Path:
    """A run directory whose run.json has another value at a place; `...` takes the entry away."""
    write_record(folder, record)
    content = json.loads((folder / "run.json").read_text())
    entry = content
    for name in path[:-1]:
        entry = entry[name]
    if to is ...:
        del entry[path[-1]]
    else:
        entry[path[-1]] = to
    (folder / "run.json").write_text(json.dumps(content))
    return folder


NONSENSE: list[tuple[Record, tuple[Any, ...], Any, str]] = [
    (FIT, ("clip_duration",), 1e-5, "clip_duration is 1e-05, expected between 0.01 and 1e+06"),
    (FIT, ("clip_duration",), 1e300, "clip_duration is 1e+300"),
    (FIT, ("clip_duration",), 10**400, "clip_duration is 1000"),
    (FIT, ("temperature",), float("inf"), "temperature is inf, expected a finite number"),
    (FIT, ("temperature",), float("nan"), "temperature is nan, expected a finite number"),
    (FIT, ("temperature",), 5e-324, "temperature is 5e-324, expected between 0.01 and 100"),
    (FIT, ("temperature",), "hot", "temperature is 'hot', expected a finite number"),
    (FIT, ("temperature",), True, "temperature is True"),
    (FIT, ("n_epochs",), -3, "n_epochs is -3, expected 0 or more"),
    (FIT, ("n_epochs",), 2.5, "n_epochs is 2.5, expected a whole number"),
    (FIT, ("best_epoch",), 31, "best_epoch is 31, expected at most n_epochs, 30"),
    (FIT, ("thresholds", "dog"), 1.5, "thresholds.dog is 1.5, expected between 0 and 1"),
    (FIT, ("thresholds", "owl"), 0.5, "thresholds has 'owl', which is not one of the classes"),
    (FIT, ("thresholds",), [], "thresholds is a list, expected an object"),
    (FIT, ("validation_accuracy",), -0.1, "validation_accuracy is -0.1"),
    (FIT, ("class_names",), [], "class_names is empty"),
    (FIT, ("class_names",), "dog", "class_names is 'dog', expected a list"),
    (FIT, ("class_names", 0), "../dog", "class_names has '../dog', which cannot be a class"),
    (FIT, ("class_names", 0), "", "class_names has '', which cannot be a class"),
    (FIT, ("class_names", 0), "Käuzchen", "class_names has a class twice"),
    (FIT, ("class_names", 0), 7, r"class_names[0] is 7, expected a text"),
    (FIT, ("settings", "sr"), "16000", "settings.sr is"),
    (FIT, ("settings", "sr"), ..., "settings.sr is"),
    (FIT, ("settings", "sr"), [16000], "settings.sr is a list"),
    (FIT, ("settings", "loud"), 1, "settings.loud is"),
    (FIT, ("feature_version",), None, "feature_version is null, expected a whole number"),
    (FIT, ("cache", "dtype"), "object", "cache.dtype is 'object', expected 'float32' or 'float16'"),
    (FIT, ("cache", "n_clips"), -1, "cache.n_clips is -1"),
    (FIT, ("cache", "file"), "/a\0b", "cache has a path that no file system has"),
    (FIT, ("cache",), None, "cache is null, expected an object"),
    (FIT, ("options",), ["model"], "options is a list, expected an object"),
    (FIT, ("options", "epochs"), [1], "options.epochs is a list"),
    (FIT, ("started",), "yesterday", "started is 'yesterday', expected a date and a time"),
    (FIT, ("state",), "half", "state is 'half', expected 'unfinished' or 'finished'"),
    (FIT, ("command",), "guess", "command is 'guess'"),
    (FIT, ("seconds",), -1, "seconds is -1, expected 0 or more"),
    (FIT, ("split", "val", "n"), -2, "split.val.n is -2"),
    (FIT, ("split", "val"), ..., "split has train, test, expected train, val, test"),
    (FIT, ("split", "val", "n_per_class", "dog"), ..., "split.val.n_per_class is not of the classes dog, Käuzchen"),
    (FIT, ("metrics", "accuracy"), 2, "metrics.accuracy is 2, expected between 0 and 1"),
    (FIT, ("metrics", "interval"), [0.1], "metrics.interval is a list, expected a list of 2"),
    (FIT, ("metrics", "confusion", 0), [1], "metrics.confusion is not a square of 2 classes"),
    (FIT, ("metrics", "per_class", "dog"), ..., "metrics.per_class is not of the classes"),
    (FIT, ("sanity", "majority class", "n"), 0, "sanity.majority class.n is 0, expected 1 or more"),
    (FIT, ("leak_probe", "leaks"), 1, "leak_probe.leaks is 1, expected true or false"),
    (FIT, ("warnings", 0), 5, "warnings[0] is 5, expected a text"),
    (FIT, ("versions",), ..., "versions is missing"),
    (CROSSVAL, ("folds", 1, "seconds"), -1, "folds[1].seconds is -1"),
    (CROSSVAL, ("folds", 0, "sanity"), None, "folds[0].sanity is null"),
    (CROSSVAL, ("n_groups",), ..., "n_groups is missing"),
    (CROSSVAL, ("options", "repeats"), 0, "options.repeats is 0, expected 1 or more"),
    (CROSSVAL, ("options", "folds"), "5", "options.folds is '5', expected 1 or more"),
    (BEGUN, ("split",), {}, "split has , expected"),
    (BEGUN, ("clip_duration",), ..., "clip_duration is missing"),
]


@pytest.mark.parametrize(("record", "path", "value", "complaint"), NONSENSE, ids=[str(row[3])[:40] for row in NONSENSE])
def test_an_entry_that_makes_no_sense_is_one_line_with_the_file_and_the_entry(
    record: Record, path: tuple[Any, ...], value: Any, complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        read_record(changed(tmp_path, record, *path, to=value))
    said = str(error.value)
    assert said.startswith(f"{tmp_path / 'run.json'} is damaged: {complaint}")
    assert said.endswith("; train again")
    assert len(said.splitlines()) == 1
    assert len(said) < 400


def test_an_entry_of_a_later_version_is_passed_over(tmp_path: Path) -> None:
    assert read_record(changed(tmp_path, FIT, "mood", to="good")) == FIT


def test_a_temperature_may_be_as_far_from_1_as_a_fit_may_find_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sure = np.eye(2, dtype=np.float32)[rng.integers(2, size=40)].clip(1e-30, 1)
    for labels in (rng.integers(2, size=40), sure.argmax(axis=1)):
        record = replace(FIT, temperature=fit_temperature(sure, labels))
        write_record(tmp_path, record)
        assert read_record(tmp_path) == record


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_whatever_stands_in_an_entry_a_record_is_read_or_is_one_line(data: st.DataObject) -> None:
    content = json.loads(json.dumps({"run_format": 1, **data.draw(st.sampled_from([FIT, CROSSVAL, BEGUN])).as_dict()}))
    for _ in range(data.draw(st.integers(1, 3))):
        entry = content
        while isinstance(entry, dict | list) and entry:
            key = data.draw(st.sampled_from(sorted(entry) if isinstance(entry, dict) else range(len(entry))))
            if not isinstance(entry[key], dict | list) or data.draw(st.booleans()):
                entry[key] = data.draw(SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.text(), SCALARS))
                break
            entry = entry[key]
    with TemporaryDirectory() as folder:
        (Path(folder) / "run.json").write_text(json.dumps(content))
        with suppress(UserError):
            record = read_record(Path(folder))
            assert repr(record).startswith("<Record: ")
            if record.state == FINISHED:
                assert run_summary(Path(folder), record)
                assert sections.head(Path(folder), record)
                assert sections.settings(record)
                assert sections.clips(record)
