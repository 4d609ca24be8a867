"""A command that is shown as the next step can be typed, and a command without arguments shows its help."""

import shlex
import sys
from pathlib import Path

import pytest

from cache.shared.cli import called, command_line
from tests.helpers.commands import cache_here, train_here

NAMES = ["runs/first", "my runs/näme \N{GRINNING FACE}", "a'b", "$HOME", "-rf", "--", "a\\b", "#"]


@pytest.mark.parametrize("folder", NAMES)
def test_a_shell_takes_a_command_to_type_apart_into_its_words(folder: str) -> None:
    *words, name, last = shlex.split(command_line("train", "predict", Path(folder), "FILE"))
    assert words == ["python", "-m", "train", "predict"]
    assert Path(name) == Path(folder)
    assert not name.startswith("-")
    assert last == "FILE"


def test_commands_are_named_as_the_user_started_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert called("train") == "python -m train"
    monkeypatch.setattr(sys, "argv", ["/opt/env/bin/melcache-featurize", "data"])
    assert (called("featurize"), called("train")) == ("melcache-featurize", "melcache-train")


@pytest.mark.parametrize("run", [cache_here, train_here])
def test_a_command_that_needs_a_verb_shows_its_help_without_one(run) -> None:  # type: ignore[no-untyped-def]
    done = run()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: ")
    assert done.stderr == run("--help").stdout
