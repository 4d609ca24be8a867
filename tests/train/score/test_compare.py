"""compare: which runs can be compared, what they differ in, and whether the difference is more than chance."""

import csv
import io
import itertools
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache.file.settings import MelSettings
from cache.shared.errors import UserError
from tests import ROOT
from tests.helpers.tables import predictions
from train.dataset.splits import SPLITS
from train.report.side_by_side import as_csv, as_html, as_json, as_text
from train.runs.record import FINISHED, Record, TrainedOn, write_record
from train.runs.results import Subset
from train.score.compare import compare
from train.score.metrics import mcnemar, score

HEADER = ("path", "class", "predicted", "p_dog", "p_cat")
OPTIONS = {"model": "baseline", "epochs": 15, "learning_rate": None, "seed": 0, "val": 0.15, "test": 0.15}


def write_table(file: Path, header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([header, *rows])


def make_run(
    folder: Path,
    answers: str,
    prefix: str = "",
    contents: str = "",
    fingerprint: str = "a" * 64,
    seconds: float = 10.0,
    command: Any = "fit",
    **options: Any,
) -> Path:
    """A run directory as `fit` leaves it: `answers` has a letter a test clip, and only R is right."""
    folder.mkdir(parents=True)
    paths = [f"dog/{prefix}{i}.wav" for i in range(len(answers))]
    sha256 = [f"{letter}{i}" for i, letter in enumerate(contents or "s" * len(answers))]
    clips = [("dog/z.wav", "z", "train"), *((path, digest, "test") for path, digest in zip(paths, sha256, strict=True))]
    write_table(folder / "split.csv", ("path", "sha256", "split"), clips)
    predicted = ["dog" if answer == "R" else "cat" for answer in answers]
    rows = [(path, "dog", guess, guess == "dog", guess == "cat") for path, guess in zip(paths, predicted, strict=True)]
    write_table(folder / "predictions.csv", HEADER, [(*row[:3], *map(int, row[3:])) for row in rows])
    is_dog = np.array([answer == "R" for answer in answers])
    record = Record(
        FINISHED,
        command,
        "2026-03-04T05:06:07+00:00",
        ["dog", "cat"],
        MelSettings().as_dict(),
        2,
        TrainedOn("/somewhere/f.h5", fingerprint),
        {**OPTIONS, **options},
        split={name: Subset(n, n, {"dog": n, "cat": 0}) for name, n in zip(SPLITS, (1, 0, len(answers)), strict=True)},
        metrics=score(np.zeros(len(answers), int), 1 - is_dog, ("dog", "cat"), np.arange(len(answers))),
        n_groups=len(answers),
        seconds=seconds,
    )
    write_record(folder, record)
    return folder


def change(folder: Path, **entries: Any) -> None:
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, **entries}))


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 1), (0, 5), (1, 6), (2, 2), (7, 3), (10, 0)])
def test_mcnemars_p_is_the_share_of_all_ways_to_share_out_the_disputed_clips_that_are_as_uneven(
    only_first: int, only_second: int
) -> None:
    n = only_first + only_second
    uneven = [abs(n - 2 * sum(way)) >= abs(only_first - only_second) for way in itertools.product((0, 1), repeat=n)]
    answers = [(True, False)] * only_first + [(False, True)] * only_second + [(True, True)] * 4 + [(False, False)] * 3
    assert mcnemar(answers) == (only_first, only_second, pytest.approx(sum(uneven) / len(uneven)))


def test_runs_that_never_disagree_do_not_differ() -> None:
    assert mcnemar([(True, True), (False, False)]) == (0, 0, 1.0)


def test_the_best_run_comes_first_and_the_others_are_tested_against_it_clip_by_clip(tmp_path: Path) -> None:
    make_run(tmp_path / "worse", "RRWWWWWRRR", seed=1)
    make_run(tmp_path / "better", "WRRRRRRRRR", seed=2)
    comparison = compare([tmp_path])
    assert [entry.folder.name for entry in comparison.entries] == ["better", "worse"]
    assert comparison.entries[0].difference is None
    assert comparison.entries[1].difference == (5, 1, pytest.approx(2 * 7 / 2**6))
    assert comparison.warnings == []
    (worse,) = (run for run in as_json(comparison)["runs"] if run["mcnemar"])
    assert worse["mcnemar"]["against"] == str(tmp_path / "better")
    assert worse["mcnemar"]["only_this_right"] == 1


def test_a_warning_says_that_runs_were_not_tested_on_the_same_clips_and_they_are_not_tested_against_each_other(
    tmp_path: Path,
) -> None:
    make_run(tmp_path / "one", "RRRR")
    make_run(tmp_path / "other", "RRWW", prefix="x")
    comparison = compare([tmp_path])
    assert [entry.clips for entry in comparison.entries] == [1, 2]
    assert [entry.difference for entry in comparison.entries] == [None, None]
    (warning,) = comparison.warnings
    assert "not all runs were tested on the same clips" in warning


def test_clips_of_another_cache_are_the_same_by_content_whatever_they_are_called(tmp_path: Path) -> None:
    make_run(tmp_path / "one", "RRRW")
    make_run(tmp_path / "renamed", "RWWR", prefix="x", fingerprint="b" * 64)
    make_run(tmp_path / "rerecorded", "RWWR", contents="ssst", fingerprint="c" * 64)
    by_name = {entry.folder.name: entry for entry in compare([tmp_path]).entries}
    assert by_name["renamed"].difference == (2, 1, pytest.approx(1.0))
    assert by_name["rerecorded"].clips != by_name["one"].clips == by_name["renamed"].clips


def test_a_cross_validation_counts_each_clip_once(tmp_path: Path) -> None:
    for name, answers in (("one", "RRRR"), ("other", "RWWW")):
        folder = make_run(tmp_path / name, answers, command="crossval", folds=2, repeats=2)
        rows = [tuple(row.values()) for row in predictions(folder)]
        # In the second repeat nobody errs.
        repeated = [(1, *row) for row in rows] + [(2, path, true, true, 1, 0) for path, true, *_ in rows]
        write_table(folder / "predictions.csv", ("repeat", *HEADER), repeated)
    best, worse = compare([tmp_path]).entries
    assert best.split == "2 folds x 2"
    assert worse.difference == (3, 0, pytest.approx(0.25))


def test_only_settings_that_differ_are_shown(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "RRW", seed=1)
    make_run(tmp_path / "b", "RWW", seed=1, learning_rate=0.001)
    comparison = compare([tmp_path])
    assert comparison.settings == ["learning_rate"]
    header = as_text(comparison, None).splitlines()[1].split()
    assert header[-2:] == ["learning-rate", "run"]
    assert "seed" not in header
    assert "model" not in header


def test_an_unfinished_run_is_left_out_with_a_line_and_a_damaged_one_is_an_error_only_when_named(
    tmp_path: Path,
) -> None:
    make_run(tmp_path / "whole", "RRW")
    change(make_run(tmp_path / "half", "RRW"), state="unfinished")
    change(make_run(tmp_path / "damaged", "RRW"), options=3)
    comparison = compare([tmp_path])
    assert [entry.folder.name for entry in comparison.entries] == ["whole"]
    assert len(comparison.warnings) == 2
    assert any("half is unfinished" in line for line in comparison.warnings)
    with pytest.raises(UserError, match="damaged"):
        compare([tmp_path / "damaged"])
    with pytest.raises(UserError, match="no finished run"):
        compare([tmp_path / "half"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no run"):
        compare([tmp_path / "empty"])


def test_a_run_without_a_test_has_no_score_and_comes_last(tmp_path: Path) -> None:
    change(make_run(tmp_path / "untested", "R"), metrics=None)
    make_run(tmp_path / "tested", "WWR")
    comparison = compare([tmp_path])
    assert [entry.folder.name for entry in comparison.entries] == ["tested", "untested"]
    assert comparison.warnings == []
    assert "no test" in as_text(comparison, 80)


def test_runs_can_be_sorted_by_time_and_by_name_and_are_listed_once(tmp_path: Path) -> None:
    make_run(tmp_path / "b", "RRR", seconds=5)
    make_run(tmp_path / "a", "RRW", seconds=9)
    for sort, expected in (("accuracy", "ba"), ("seconds", "ba"), ("run", "ab")):
        comparison = compare([tmp_path, tmp_path / "a"], sort)
        assert "".join(entry.folder.name for entry in comparison.entries) == expected


@pytest.mark.parametrize("width", [60, 80, 132])
def test_no_line_of_the_table_is_wider_than_the_terminal(width: int, tmp_path: Path) -> None:
    for i, model in enumerate(("baseline", "compact")):
        options = {"model": model, "epochs": 10 * (i + 1), "seed": i, "batch_size": 32 + i, "learning_rate": 10**-i}
        options |= {"patience": i, "class_weight": "balanced" if i else None}
        make_run(tmp_path / f"run-{model}", "RRWWR"[i:], prefix=str(i), fingerprint=str(i) * 64, **options)
    comparison = compare([tmp_path])
    lines = as_text(comparison, width).splitlines()
    name = max(len(str(entry.folder)) for entry in comparison.entries)  # a name is never cut
    assert max(map(len, lines)) <= max(width, name + 6)
    text = "\n".join(lines)
    assert all(entry.folder.name in text for entry in comparison.entries)
    assert all(word in text for word in ("compact", "batch-size", "balanced"))


def test_csv_and_html_hold_every_run_and_names_are_no_markup(tmp_path: Path) -> None:
    make_run(tmp_path / "<img src=x>", "RRW")
    make_run(tmp_path / "plain, with a comma", "RWW", seed=1)
    comparison = compare([tmp_path])
    rows = list(csv.DictReader(io.StringIO(as_csv(comparison))))
    assert [Path(row["run"]).name for row in rows] == ["<img src=x>", "plain, with a comma"]
    assert [float(row["accuracy"]) for row in rows] == pytest.approx([2 / 3, 1 / 3])
    assert [row["seed"] for row in rows] == ["0", "1"]
    page = as_html(comparison)
    assert "<img" not in page
    assert "&lt;img src=x&gt;" in page
    assert page.count("<tr>") == 3


def test_the_command_loads_no_tensorflow_and_prints_one_json_object(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "RRW")
    make_run(tmp_path / "b", "RWR")
    code = (
        "import sys, runpy, atexit\n"
        f"sys.argv = ['train', 'compare', {str(tmp_path)!r}, '--json']\n"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
        "runpy.run_module('train', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert len(json.loads(done.stdout)["runs"]) == 2
    assert not {"tensorflow", "keras", "sklearn", "librosa", "featurize"} & set(done.stderr.split())
