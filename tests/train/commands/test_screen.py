"""The text on a screen is complete, fits 80 columns, and has no name that could move the cursor."""

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.made_runs import made_crossval, made_fit
from train.commands.screen import confusion_lines, run_summary, score_lines
from train.fitting.options import Options
from train.models.recipes import default_epochs, recipe
from train.report import sections
from train.report.report import write_report
from train.report.side_by_side import as_text
from train.runs.record import read_record, write_record
from train.runs.results import LeakProbe, Score
from train.score.baselines import warnings
from train.score.compare import compare
from train.score.metrics import score


def scored(class_names: tuple[str, ...]) -> Score:
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(len(class_names), size=(2, 5000))
    return score(true, predicted, class_names, np.arange(5000))


@pytest.mark.parametrize(
    "class_names", [("dog", "cat", "bird"), tuple(f"class {i}" for i in range(50)), ("a" * 200, "b" * 200)]
)
def test_a_score_fits_in_80_columns_however_many_classes_and_however_long_their_names(
    class_names: tuple[str, ...],
) -> None:
    lines = score_lines(scored(class_names), "title", {"majority class": scored(class_names)})
    assert max(map(len, lines)) <= 80


def test_a_score_shows_accuracy_f1_every_class_the_baseline_and_the_confusion_matrix() -> None:
    result = scored(("dog", "cat", "bird"))
    text = "\n".join(score_lines(result, "title", {"majority class": replace(result, accuracy=0.347)}))
    for share in (result.accuracy, result.macro_f1, 0.347):
        assert f"{100 * share:.1f} %" in text
    for one in result.per_class.values():
        assert f"{100 * one.precision:.1f} %" in text
        assert f"{100 * one.recall:.1f} %" in text
    for row in result.confusion:
        assert any([str(n) for n in row] == line.split()[-3:] for line in text.splitlines())


def test_with_too_many_classes_for_a_matrix_the_largest_confusions_are_named() -> None:
    confusion = np.eye(40, dtype=int) * 9
    confusion[3, 7] = 5
    lines = confusion_lines(confusion.tolist(), [f"class {i}" for i in range(40)])
    assert lines[1].split(maxsplit=1) == ["5", "class 3 taken for class 7"]
    assert len(lines) == 2


def test_names_are_shown_escaped() -> None:
    assert "\x1b" not in "\n".join(score_lines(scored(("do\x1bg", "c\nat")), "title"))


def test_the_defaults_that_the_help_names_are_those_of_the_models() -> None:
    help_of = {one.name: one.metadata.get("show_default", "") for one in fields(Options)}
    named = re.findall(r"([\d.]+) for (\w+)", help_of["val"])
    assert {name: float(value) for value, name in named} == {name: recipe(name).val for name in ("baseline", "compact")}
    of_notebook, of_compact = help_of["epochs"].split("; for compact ")
    assert of_notebook.endswith(f": {recipe('baseline').epochs} for baseline")
    sizes = re.findall(r"(\d+) for ([\d,]+)", of_compact)
    assert len(sizes) == 2
    assert "of 3 classes" in of_compact
    for epochs, n_clips in sizes:
        assert int(epochs) == default_epochs(recipe("compact"), int(n_clips.replace(",", "")), 3, Options.batch_size)


def test_one_group_is_too_few_for_an_interval_and_a_few_are_said_to_be(tmp_path: Path) -> None:
    of_one = score(np.array([0, 1]), np.array([0, 1]), ("dog", "cat"), np.array([0, 0]))
    assert "  1 group: too few for a useful interval" in score_lines(of_one, "title")
    of_three = score(np.array([0, 1, 0, 1]), np.array([0, 1, 1, 1]), ("dog", "cat"), np.array([0, 1, 2, 2]))
    assert any(line.startswith("  3 groups: so few that") for line in score_lines(of_three, "title"))
    alone = score(np.array([0, 1]), np.array([0, 1]), ("dog", "cat"), np.array([0, 1]))
    assert not any("too few" in line or "so few" in line for line in score_lines(alone, "title"))


@pytest.mark.parametrize("make", [made_fit, made_crossval])
def test_one_of_a_kind_is_singular(make: Any, tones_cache: Path, tmp_path: Path) -> None:
    record = read_record(make(tmp_path / "run", tones_cache))
    one = replace(record, n_epochs=1, n_groups=1, validation_accuracy=None)
    one = replace(one, split={name: replace(part, n=1, n_groups=1) for name, part in record.split.items()})
    one = replace(one, metrics=replace(record.metrics, n=1, n_groups=1), cache=replace(record.cache, n_clips=1))
    text = run_summary(tmp_path, one) + sections.head(tmp_path, one).lead + sections.tested(one, one.metrics)
    assert re.findall(r"\b1 (?:clips|groups|epochs|folds|runs|times)\b", text) == []
    assert re.findall(r"\b1 (?:clip|group)\b", text)


def test_every_share_has_a_blank_before_its_sign(tones_cache: Path, tmp_path: Path) -> None:
    folder = made_fit(tmp_path / "run", tones_cache)
    record = read_record(folder)
    probe = LeakProbe(0.9, (0.85, 0.95), 0.4, leaks=True)
    shown = [run_summary(folder, record), *warnings(record.metrics, record.sanity, probe)]
    shown += [as_text(compare(folder), None), write_report(folder).read_text(encoding="utf-8").split("<main>")[1]]
    for text in shown:
        prose = re.sub(r"<script.*|<svg.*?</svg>|src=\"[^\"]*\"", "", text, flags=re.DOTALL)
        assert "%" in prose
        assert re.findall(r"\d%", prose) == []


@pytest.mark.slow
def test_the_notebooks_model_says_which_is_better_and_the_others_do_not(tones_cache: Path, tmp_path: Path) -> None:
    record = read_record(made_fit(tmp_path / "run", tones_cache))
    for model, is_said in (("baseline", True), ("dropout", True), ("compact", False), ("tiny", False)):
        of = replace(record, options={**record.options, "model": model})
        assert ("--model compact" in sections.hint(of)) == is_said
        write_record(tmp_path / "run", of)
        page = write_report(tmp_path / "run").read_text(encoding="utf-8")
        assert ("course notebook" in page) == is_said
