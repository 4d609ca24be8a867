"""The pages: what they show exists, and what they say of the file format is what the code says."""

import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer.testing

from cache.file.columns import COLUMNS, REJECTED, X_DTYPES
from cache.file.header import ATTRIBUTES
from cache.file.settings import SETTINGS, MelSettings
from tests import ROOT
from train.dataset.augment import Augmentation
from train.exporters.formats import ExportFormat
from train.models.recipes import RECIPES
from train.predict.recordings import LABELS

OURS = ("cache", "featurize", "train")
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
FILES = [ROOT / name / "README.md" for name in (".", "cache", "featurize", "train", "data", "tests/bench")]
FILES += sorted((ROOT / ".docs").glob("*.md"))
PAGES = "".join(file.read_text(encoding="utf-8") for file in FILES)
CACHE_PAGE = (ROOT / "cache" / "README.md").read_text(encoding="utf-8")
TRAIN_PAGE = (ROOT / "train" / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGES, re.MULTILINE | re.DOTALL)


def shown_commands() -> list[str]:
    """Every command in a code block or between backticks; of a console block only what follows a prompt."""
    lines = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", PAGES, flags=re.MULTILINE | re.DOTALL))
    for kind, block in BLOCKS:
        if kind == "sh":
            lines += block.splitlines()
        if kind == "console":
            lines += re.findall(r"^\$ (.*)$", block, re.MULTILINE)
    commands = {line.split(" #")[0].strip() for line in lines}
    return sorted(line for line in commands if line.split(" ")[0] in ("python", "make"))


@cache
def help_of(*command: str) -> str:
    wide = {"COLUMNS": "200", "TERM": "dumb"}
    if command[0] == "-m" and command[1] in OURS:
        # There are twenty; tests/whole/test_packaging.py starts the modules themselves.
        app = import_module(f"{command[1]}.__main__").app
        here = typer.testing.CliRunner().invoke(app, [*command[2:], "--help"], env=wide)
        assert here.exit_code == 0, f"{' '.join(command)} --help: {here.output}"
        return here.stdout
    line = [sys.executable, *command, "--help"]
    done = subprocess.run(line, cwd=ROOT, env={**os.environ, **wide}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)} --help: {done.stderr}"
    return done.stdout


def check_options(command: tuple[str, ...], words: list[str]) -> None:
    known = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", help_of(*command)))
    unknown = {word.split("=")[0] for word in words if word.startswith("--")} - known
    assert not unknown, f"{' '.join(command)} has no {unknown}"


def split_command(words: list[str]) -> tuple[tuple[str, ...], list[str]]:
    """Cut `python ...` into what is run, its subcommand included, and the words after it."""
    n = 2 if words[0] == "-m" else 1
    command, rest = tuple(words[:n]), words[n:]
    if "Commands:" in help_of(*command) and rest and not rest[0].startswith("-"):
        return (*command, rest[0]), rest[1:]
    return command, rest


def check_make(words: list[str]) -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z]+) *\??=", MAKEFILE, re.MULTILINE))
    stages = {"features": ("-m", "featurize"), "train": ("-m", "train", "fit"), "test": ("-m", "pytest")}
    named = [word for word in words if "=" not in word]
    given = dict(word.split("=", 1) for word in words if "=" in word)
    assert set(named) <= targets
    assert set(given) <= variables
    for target in named:
        if target in stages:
            check_options(stages[target], shlex.split(given.get("ARGS", "")))


def test_the_readme_shows_commands_of_every_kind() -> None:
    starts = {" ".join(command.split()[:3]) for command in shown_commands()}
    assert {"make demo", "make test", "python -m featurize", "python -m cache", "python -m train"} <= starts


@pytest.mark.parametrize("command", shown_commands())
def test_every_command_shown_exists_with_every_option_shown(command: str) -> None:
    program, *words = shlex.split(command)
    if program == "make":
        check_make(words)
    else:
        check_options(*split_command(words))


@pytest.mark.parametrize(
    "command",
    [
        "make features ARGS=--no-such",
        "make no-such",
        "make train NOSUCH=1",
        "python -m train no-such",
        "python -m no.such",
        "python -m train fit --no-such",
    ],
)
def test_a_command_that_does_not_exist_would_be_found(command: str) -> None:
    with pytest.raises(AssertionError):
        test_every_command_shown_exists_with_every_option_shown(command)


def table(first_column: str) -> list[list[str]]:
    """Rows of the table whose first column has this title, cells stripped of backticks."""
    match = re.search(rf"^\| {first_column} \|.*\n\| ---.*\n((?:\|.*\n)+)", CACHE_PAGE, re.MULTILINE)
    assert match
    return [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in match[1].splitlines()]


def test_every_file_linked_to_exists() -> None:
    for file in FILES:
        targets = re.findall(r"\]\(([^)#:]+)\)", file.read_text(encoding="utf-8"))
        assert targets or file != FILES[0]
        assert [target for target in targets if not (file.parent / target).exists()] == []


def test_every_file_that_the_readme_says_to_change_exists() -> None:
    section = README.split("## Where do I change ..")[1].split("\n## ")[0]
    named = re.findall(r"`((?:cache|featurize|train)/[\w/.]+)`", section)
    assert len(named) >= 10
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_table_of_the_cache_is_the_layout() -> None:
    def shown(dtype: str) -> str:
        return "UTF-8" if dtype == "S" else np.dtype(dtype).name

    expected = [["X", "(N, 128, 128, 1)", " or ".join(X_DTYPES)], ["y", "(N, n_classes)", "float32"]]
    expected += [[name, "(N,)", shown(dtype)] for name, dtype in COLUMNS.items()]
    expected += [[name, "(R,)", shown(dtype)] for name, dtype in REJECTED.items()]
    rows = table("name")
    assert [row[:3] for row in rows] == expected
    assert all(row[3] for row in rows)


def test_the_table_of_settings_is_the_contract() -> None:
    rows = table("setting")
    assert [row[0] for row in rows] == list(SETTINGS)
    assert [row[1] for row in rows] == [str(getattr(MelSettings(), name)) for name in SETTINGS]


def test_every_other_attribute_of_the_cache_is_named() -> None:
    assert [name for name in ATTRIBUTES if f"`{name}`" not in CACHE_PAGE] == []


def test_the_table_of_what_training_varies_is_the_recipe_of_compact() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", TRAIN_PAGE, re.MULTILINE)
    # The range is that of the cache.
    assert rows == [(name, str(value)) for name, value in asdict(Augmentation()).items() if name != "range_db"]
    assert RECIPES["compact"].augmentation == Augmentation()


@pytest.mark.parametrize("name", [*RECIPES, *LABELS])
def test_every_model_and_every_format_of_labels_is_named(name: str) -> None:
    assert f"`{name}`" in TRAIN_PAGE


def test_every_format_of_an_export_is_named() -> None:
    assert f"--format {'|'.join(ExportFormat)} " in PAGES


def test_the_notebook_snippets_run_as_they_stand(tmp_path: Path) -> None:
    run_python("data/synthesize.py", str(tmp_path / "data"), "--n-per-class", "8", cwd=ROOT)
    (tmp_path / "data/dog/rex.wav").write_bytes(next((tmp_path / "data/dog").glob("*.wav")).read_bytes())
    section = README.split("## From a notebook")[1].split("\n## ")[0]
    snippets = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert [len(re.findall(r"^.+$", snippet, re.MULTILINE)) for snippet in snippets] == [5, 3, 3, 3]
    checks = """
assert cache.X.shape == (25, 128, 128, 1) and (x == cache.X[cache.paths.index("dog/rex.wav")]).all()
assert probabilities.shape == (1, 3) and record.n_epochs == 2
assert set(found[0].probabilities) == {"dog", "cat", "bird"}
"""
    run_python("-c", "\n".join([*snippets, checks]), cwd=tmp_path)


def test_the_clips_of_the_page_about_bats_are_made_as_it_stands(tmp_path: Path) -> None:
    (snippet,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / ".docs/bats.md").read_text(), re.MULTILINE | re.DOTALL)
    run_python("-c", snippet, cwd=tmp_path)
    assert Counter(file.parent.name for file in tmp_path.glob("bats/*/*.wav")) == dict.fromkeys(
        ("myotis", "horseshoe", "noise"), 60
    )
    assert soundfile.info(tmp_path / "night.wav").duration == 10


def run_python(*arguments: str, cwd: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
