"""run.json: its bytes are those of every version, and an entry that makes no sense is named."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from cache.file.settings import MelSettings
from train.runs.record import FINISHED, UNFINISHED, Record, TrainedOn, as_json, read_record, write_record
from train.runs.results import ClassScore, FoldSummary, LeakProbe, Score, Subset

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
    settings = MelSettings().as_dict()
    began = "2026-03-04T05:06:07+00:00"
    return Record(state, command, began, CLASSES, settings, 2, cache, options, **others)


FIT = start(FINISHED, "fit", OPTIONS, **OF_FIT, **RESULTS)
CROSSVAL = start(FINISHED, "crossval", OPTIONS | {"folds": 2, "repeats": 1}, n_groups=20, folds=FOLDS, **RESULTS)
BEGUN = start(UNFINISHED, "fit", OPTIONS, split=SPLIT, clip_duration=1.25)
# Of the bytes that the version before these types wrote for the same values.
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
