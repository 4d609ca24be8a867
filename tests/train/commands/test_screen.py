"""What a person reads: everything there, in 80 columns, and no name that could move the cursor."""

import re
from dataclasses import fields, replace

import numpy as np
import pytest

from train.commands.screen import confusion_lines, score_lines
from train.fitting.options import Options
from train.models.recipes import recipe
from train.runs.results import Score
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


@pytest.mark.parametrize("option", ["epochs", "val"])
def test_the_defaults_that_the_help_names_are_those_of_the_models(option: str) -> None:
    (metadata,) = (one.metadata for one in fields(Options) if one.name == option)
    named = re.findall(r"([\d.]+) for (\w+)", metadata["show_default"])
    assert [name for _, name in named] == ["baseline", "compact"]
    assert [float(value) for value, _ in named] == [getattr(recipe(name), option) for _, name in named]
