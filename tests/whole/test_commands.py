"""The commands as a whole: they teach by example, fit 80 columns, mean one thing by one option, and can be quiet."""

import inspect
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from types import NoneType, SimpleNamespace
from typing import Any, get_args, get_origin, get_type_hints

import pytest
import typer
from typer.testing import CliRunner

import cache.__main__ as cache_command
import featurize.__main__ as featurize_command
import train.__main__ as train_command
from cache.shared import cli as terminal
from tests import ROOT
from train.models.recipes import RECIPES
from train.report.sections import hint
from train.runs.record import Record, TrainedOn
from train.runs.results import Score

APPS = {"featurize": featurize_command.app, "cache": cache_command.app, "train": train_command.app}


def commands() -> Iterator[tuple[str, Any]]:
    for package, app in APPS.items():
        found: Any = typer.main.get_command(app)
        subcommands = getattr(found, "commands", None)
        if subcommands is None:
            yield package, found
        else:
            yield from ((f"{package} {name}", command) for name, command in subcommands.items())


COMMANDS = dict(commands())


@pytest.fixture(autouse=True)
def not_quiet_afterwards() -> Iterator[None]:
    yield
    terminal.be_quiet(False)


def help_of(name: str) -> str:
    package, *subcommand = name.split()
    done = CliRunner().invoke(APPS[package], [*subcommand, "--help"], prog_name=f"python -m {package}")
    assert done.exit_code == 0
    return done.output


@pytest.mark.parametrize("name", [*COMMANDS, "cache", "train"])
def test_every_help_shows_an_example_of_itself_and_fits_80_columns(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = help_of(name)
    examples = [line for line in text.splitlines() if f"python -m {name}" in line and "Usage" not in line]
    assert examples
    assert max(map(len, text.splitlines())) <= 80
    assert "completion" not in text


@pytest.mark.parametrize("name", COMMANDS)
def test_no_example_is_broken_in_the_middle(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    paragraphs = re.split(r"\n\s*\n", help_of(name))
    examples = [text.strip() for text in paragraphs if text.strip().startswith("Example")]
    assert [text for text in examples if "\n" in text] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_every_command_is_explained(name: str) -> None:
    missing = [one.name for one in COMMANDS[name].params if one.name != "help" and not getattr(one, "help", "")]
    assert missing == []


def test_an_option_that_several_commands_have_is_one_and_the_same() -> None:
    kinds: dict[str, set[Any]] = defaultdict(set)
    for command in COMMANDS.values():
        hints = get_type_hints(inspect.unwrap(command.callback, stop=lambda call: hasattr(call, "__signature__")))
        for one in command.params:
            if one.param_type_name == "option":
                # None where the model or the run decides; and the formats there are, are each command's own.
                (kind, *_) = (arg for arg in get_args(hints[one.name]) or (hints[one.name],) if arg is not NoneType)
                kinds[one.opts[0]].add(StrEnum if issubclass(get_origin(kind) or kind, StrEnum) else kind)
    assert {"--seed", "--json", "--quiet", "--out", "--cache"} <= kinds.keys()
    # A fit goes on in its run directory, which it is told; an interrupted prediction in the file that --out names.
    assert {option for option, found in kinds.items() if len(found) > 1} == {"--resume"}


@pytest.mark.parametrize("name", ["featurize", "train fit", "train crossval", "train sweep", "train predict"])
def test_what_takes_long_can_be_quiet(name: str) -> None:
    assert "--quiet" in help_of(name)


def run(*arguments: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_a_quiet_command_prints_nothing_but_what_was_asked_for_and_errors(tones: Path, tmp_path: Path) -> None:
    done = run("featurize", tones, "--cache", tmp_path / "f.h5", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = run("featurize", tones, "--cache", tmp_path / "f.h5", "--quiet", "--json")
    assert (json.loads(done.stdout)["n_reused"], done.stderr) == (48, "")
    done = run("cache", "verify", tmp_path / "f.h5", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = run("cache", "verify", tmp_path / "missing.h5", "--quiet")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)


def test_a_quiet_fit_prints_no_summary_and_no_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half = Score(2, 2, 0.5, (0.1, 0.9), 0.5, {}, [])
    record = Record(
        "finished",
        "fit",
        "",
        ["dog"],
        {},
        2,
        TrainedOn("f.h5", ""),
        {"model": "baseline"},
        metrics=half,
        warnings=["a doubt"],
    )
    monkeypatch.setattr("train.fitting.fit.fit", lambda *_, **__: (tmp_path, record))
    monkeypatch.setattr("train.report.report.report_finished", lambda *_: tmp_path / "report.html")
    monkeypatch.setattr("train.commands.screen.run_summary", lambda *_: "the summary")
    for arguments, stdout, stderr in (
        (
            [],
            f"the summary\nreport: {tmp_path / 'report.html'}\nnext: python -m train predict {tmp_path} FILE\n"
            f"{hint(record)}\n",
            "warning: a doubt\n",
        ),
        (["--quiet"], "", ""),
    ):
        done = CliRunner().invoke(train_command.app, ["fit", "f.h5", *arguments])
        assert (done.exit_code, done.stdout, done.stderr) == (0, stdout, stderr)
    done = CliRunner().invoke(train_command.app, ["fit", "f.h5", "--quiet", "--json"])
    assert (json.loads(done.stdout)["accuracy"], done.stderr) == (0.5, "")


def test_nobody_watches_what_is_no_terminal_or_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    for is_terminal, is_quiet in ((True, False), (True, True), (False, False)):
        monkeypatch.setattr("sys.stderr.isatty", lambda is_terminal=is_terminal: is_terminal, raising=False)
        terminal.be_quiet(is_quiet)
        assert terminal.is_watched() == (is_terminal and not is_quiet)


def test_a_bar_is_shown_at_a_terminal_and_in_a_notebook_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def shows_a_bar() -> bool:
        with terminal.progress_bar(3) as bar:
            return not bar.disable

    monkeypatch.setattr("sys.stderr.isatty", lambda: False, raising=False)
    assert not shows_a_bar()
    python = SimpleNamespace(get_ipython=lambda: None)
    notebook = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=None))
    for shell, expected in ((python, False), (notebook, True)):
        monkeypatch.setitem(sys.modules, "IPython", shell)
        assert (terminal.is_watched(), shows_a_bar()) == (expected, expected)
    terminal.be_quiet(True)
    assert not shows_a_bar()
    terminal.be_quiet(False)
    monkeypatch.setitem(sys.modules, "IPython", python)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert shows_a_bar()


def test_a_terminal_gets_lines_of_its_width_without_colours_and_a_file_gets_them_whole(tones_cache: Path) -> None:
    controller, other = pty.openpty()
    command = [sys.executable, "-m", "cache", "info", str(tones_cache)]
    environment = {**os.environ, "COLUMNS": "80", "TERM": "xterm-256color"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=other, stderr=other, close_fds=True):
        os.close(other)
        shown = b""
        try:
            while part := os.read(controller, 65536):
                shown += part
        except OSError:  # Linux says so at the end of a terminal
            pass
    os.close(controller)
    lines = shown.decode().replace("\r\n", "\n").splitlines()
    assert b"\x1b" not in shown
    # A path is not broken.
    assert max(len(line) for line in lines if str(tones_cache.parent) not in line) <= 80
    whole = run("cache", "info", tones_cache).stdout.splitlines()
    assert any(line.startswith("settings") and line.endswith("n_frames 128") for line in whole)
    # A second lies between the two.
    of_terminal, of_file = (re.sub("made .* ago", "", " ".join(" ".join(said).split())) for said in (lines, whole))
    assert of_terminal == of_file


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-m", "t"], ["train"]),
        (["-m", "train", "cr"], ["crossval"]),
        (["-m", "train", "fit", "--mod"], ["--model"]),
        (["-m", "train", "fit", "--model", ""], list(RECIPES)),
        (["-m", "featurize", "--dtype", ""], ["float32", "float16"]),
        (["-m", "cache", ""], ["info", "verify", "plot", "merge", "subset"]),
        (["-m", "cache", "info", "da"], []),
        (["script.py", "x"], []),
    ],
)
def test_bash_completes_commands_options_and_values(words: list[str], expected: list[str]) -> None:
    code = '. ./.completion.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _melcache "$1"; echo "${COMPREPLY[*]}"'
    command = ["bash", "--norc", "-c", code, "bash", sys.executable, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == expected
    assert done.stderr == ""
