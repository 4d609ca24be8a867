"""train from Python: what is no path, run or column of a comparison is an error that can be read."""

import inspect
import pydoc
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

import cache
import featurize
import train
from cache.shared.errors import UserError
from cache.shared.options import options_in
from featurize import build
from tests.helpers.made_runs import made_crossval, made_fit
from train import crossval, evaluate, export, fit
from train.__main__ import app
from train.exporters.formats import ExportFormat
from train.fitting.options import Options
from train.predict.windows import Windows
from train.report.mistakes import write_suspects
from train.report.report import write_report
from train.runs.directory import open_run
from train.score.compare import compare

OPENERS: dict[str, Callable[[Any], object]] = {
    "evaluate": evaluate,
    "report": write_report,
    "compare": compare,
    "suspects": lambda run: write_suspects(run, "suspects.csv"),
    "open": open_run,
}


@pytest.mark.parametrize("name", OPENERS)
@pytest.mark.parametrize("run", [5, None, b"runs/x", "", "a\0b", {"runs/x": 1}, 1.5, True])
def test_what_is_not_a_path_is_an_error_that_says_so(
    name: str, run: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"run is .*it must be a path"):
        OPENERS[name](run)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["evaluate", "report", "suspects", "open"])
def test_a_list_of_runs_is_not_taken_for_one(name: str) -> None:
    with pytest.raises(UserError, match="it must be a path"):
        OPENERS[name](["runs/x"])


@pytest.mark.parametrize("name", OPENERS)
def test_a_run_that_is_not_there_is_an_error_that_names_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none"):
        OPENERS[name](str(tmp_path / "none"))


def test_paths_may_be_text_and_one_run_need_not_be_in_a_list(
    tones_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made_fit(tmp_path / "first", tones_cache)
    made_crossval(tmp_path / "second", tones_cache)
    assert write_report("first", str(tones_cache)).exists()
    assert write_suspects("second", "suspects.csv") == len(Path("suspects.csv").read_text().splitlines()) - 1
    assert [entry.folder.name for entry in compare("first").entries] == ["first"]
    assert {entry.folder.name for entry in compare(["first", Path("second")]).entries} == {"first", "second"}


def test_other_orders_and_places_than_there_are_name_those_that_there_are(tones_cache: Path, tmp_path: Path) -> None:
    folder = made_fit(tmp_path / "run", tones_cache)
    for sort in ("best", None, 3):
        with pytest.raises(UserError, match="expected one of accuracy, seconds, run"):
            compare(folder, sort)  # type: ignore[arg-type]
    for arguments in ({"cache_file": 5}, {"data": 5}):
        with pytest.raises(UserError, match="it must be a path"):
            write_report(folder, **arguments)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="out is 5; it must be a path"):
        write_suspects(folder, 5)  # type: ignore[arg-type]


@pytest.mark.parametrize("face", [cache, featurize, train], ids=lambda face: face.__name__)
def test_help_and_completion_show_a_face(face: ModuleType) -> None:
    assert dir(face) == sorted(face.__all__)
    page = pydoc.plain(pydoc.render_doc(face))
    assert [name for name in face.__all__ if f"    {name}(" not in page and f"class {name}" not in page] == []


def test_the_help_of_a_function_names_each_option_and_each_value_that_is_a_name() -> None:
    for function in (fit, crossval):
        missing = [name for name in options_in(Options) if f"\n{name}\n    " not in (function.__doc__ or "")]
        assert missing == ([] if function is fit else ["test", "split_file", "val_list", "test_list"])
    assert "One of middle, segments, loudest." in (build.__doc__ or "")
    assert [name for name in ExportFormat if f'"{name}"' not in (export.__doc__ or "")] == []


def test_a_command_has_the_defaults_of_its_function() -> None:
    def default(function: Callable[..., object], name: str) -> object:
        return inspect.signature(function).parameters[name].default

    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    given = {name: {one.name: one for one in command.params} for name, command in commands.items()}
    assert given["crossval"]["folds"].default == default(crossval, "n_folds")
    assert given["crossval"]["repeats"].default == default(crossval, "n_repeats")
    assert given["export"]["input"].default == default(export, "input")
    assert given["compare"]["sort"].default == default(compare, "sort")
    assert given["predict"]["overlap"].show_default == str(Windows.overlap)
