"""The options of a fit: named by the signature of fit(), checked before anything is made, and the same in a command."""

import inspect
import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

import train
from cache.shared.errors import UserError
from tests.helpers.tiny import OF_FIT, OPTIONS
from train.__main__ import app
from train.fitting.options import Options, options_of
from train.models.recipes import RECIPES

WRONG: dict[str, Any] = {
    "model": ["nonsense", None, 3],
    "epochs": [0, "3", 2.5, True, float("nan")],
    "batch_size": [0, None, "8"],
    "learning_rate": [-1.0, float("nan"), float("inf"), "0.1"],
    "seed": [-1, 2**32, None],
    "val": [1, -0.1, "0.2"],
    "group_by": [3],
    "class_weight": ["heavy", {"dog": 2.0}],
    "patience": [0, 1.5],
    "deterministic": [1, "yes"],
}
WRONG_OF_FIT = WRONG | {"test": [1, None], "split_file": [3], "val_list": [b"val.txt"], "test_list": [[]]}
WRONG_OF_CROSSVAL = WRONG | {"n_folds": [1, "5", None], "n_repeats": [0, 0.5]}


@pytest.mark.parametrize("face", [train.fit, train.crossval])
def test_help_names_every_option_with_its_default(face: Callable[..., Any]) -> None:
    parameters = inspect.signature(face).parameters
    not_of_crossval = {"test", "split_file", "val_list", "test_list"} if face is train.crossval else set()
    assert {one.name for one in fields(Options)} - parameters.keys() == not_of_crossval
    assert parameters["batch_size"].default == 32
    assert parameters["epochs"].default is None
    assert "options" not in parameters
    for one in fields(Options):
        assert (one.metadata["help"] in (face.__doc__ or "")) == (one.name in parameters)
    assert inspect.Parameter.VAR_KEYWORD not in {one.kind for one in parameters.values()}


@pytest.mark.parametrize(
    ("face", "name", "value"),
    [(train.fit, name, value) for name, values in WRONG_OF_FIT.items() for value in values]
    + [(train.crossval, name, value) for name, values in WRONG_OF_CROSSVAL.items() for value in values],
)
def test_a_value_that_cannot_be_is_named_before_anything_is_made(
    face: Callable[..., Any], name: str, value: Any, tiny: str, tones_cache: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"no model '{value}'" if value == "nonsense" else f"^{name} is "):
        face(tones_cache, tmp_path / "run", **OPTIONS | {name: value})
    assert not (tmp_path / "run").exists()


def test_an_option_that_does_not_exist_is_python_s_own_error(tones_cache: Path, tmp_path: Path) -> None:
    for face, name in ((train.fit, "epoch"), (train.crossval, "test"), (train.crossval, "split_file")):
        with pytest.raises(TypeError, match=rf"^\w+\(\): got an unexpected keyword argument '{name}'"):
            face(tones_cache, tmp_path / "run", **{name: 1})
    assert not (tmp_path / "run").exists()


def test_numbers_of_numpy_and_paths_are_taken_as_they_are_meant(tiny: str) -> None:
    odd = {"epochs": np.int64(3), "val": np.float32(0.5), "test": 0, "seed": np.uint8(7), "split_file": Path("a/b.csv")}
    options = options_of(10, 2, model=tiny, **odd)
    assert (options.epochs, options.val, options.test, options.seed, options.split_file) == (3, 0.5, 0.0, 7, "a/b.csv")
    assert [type(one) for one in (options.epochs, options.val, options.test, options.seed)] == [int, float, float, int]
    json.dumps(vars(options))


def test_what_the_command_takes_is_what_fit_takes_with_the_same_defaults() -> None:
    command: Any = typer.main.get_command(app)
    taken = {one.name: one for one in command.commands["fit"].params}
    for one in fields(Options):
        parameter = inspect.signature(train.fit).parameters[one.name]
        assert taken[one.name].default == parameter.default
        assert taken[one.name].help == one.metadata["help"]


def test_without_epochs_and_val_they_are_the_recipe_s_own(tiny: str) -> None:
    assert options_of(1, 2, model=tiny) == options_of(1, 2, model=tiny, epochs=None, val=None)
    assert (options_of(1, 2, model=tiny).epochs, options_of(1, 2, model=tiny).val) == (3, RECIPES[tiny].val)
    assert Options(**OF_FIT) == options_of(1, 2, **OF_FIT)
