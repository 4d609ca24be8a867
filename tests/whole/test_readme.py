"""The pages: what they show exists, and what they say of the file format is what the code says."""

import ast
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
from cache.file.header import ATTRIBUTES, FORMAT_VERSION
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


# Names of classes, and a setting that a message names.
DATA_WORDS = {"frog", "owl", "wren", "horseshoe", "myotis", "crop"}


@cache
def texts_of_the_code() -> list[str]:
    """Every literal text in the code that has a word in it, line by line."""
    files = [file for folder in (*OURS, "data") for file in (ROOT / folder).rglob("*.py")]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return sorted({line for text in texts for line in text.split("\n") if re.search("[a-z]{2}", line)})


def foreign_words(line: str) -> list[str]:
    """The words of a line of output that no text of the code has there; a noun may have the s of its plural."""
    is_ours = [False] * len(line)
    for text in texts_of_the_code():
        for found in re.finditer(re.escape(text), line) if text in line else ():
            start, end = found.span()
            end += text[-1].isalpha() and line[end : end + 1] == "s"
            starts_in_word = text[0].isalpha() and line[:start][-1:].isalpha()
            if not starts_in_word and not (text[-1].isalpha() and line[end : end + 1].isalpha()):
                is_ours[start:end] = [True] * (end - start)
    words = re.finditer(r"(?<![\w/.-])[a-z][a-z-]{2,}(?![\w/.-])", line)
    return [word[0] for word in words if not all(is_ours[slice(*word.span())]) and word[0] not in DATA_WORDS]


def shown_output() -> list[str]:
    """Every line that a console block shows below a command; pytest's and make's are not ours."""
    lines = []
    for _, block in (pair for pair in BLOCKS if pair[0] == "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *output = part.splitlines()
            lines += [line for line in output if line.strip("[. ]") and line[0] != "." and command != "make test"]
    return lines


def test_the_output_shown_is_in_the_words_of_the_code() -> None:
    assert len(shown_output()) > 100
    assert {line: words for line in shown_output() if (words := foreign_words(line))} == {}


@pytest.mark.parametrize(
    "line",
    [
        "27 of 60 clips are too long for the row; --crop segments uses all of them",
        "checked with 32 clips of features.h5 in onnxruntime 1.32.0",
        "2 clips ignored because they lie beside the class folders: a.wav and b.wav",
    ],
)
def test_output_in_other_words_would_be_found(line: str) -> None:
    assert foreign_words(line)


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


def test_no_page_imports_from_below_a_face() -> None:
    imported = re.findall(rf"\b(?:from|import) (?:{'|'.join(OURS)})\b[\w.]*", PAGES)
    assert {"from cache", "from featurize", "from train"} <= set(imported)
    assert [line for line in imported if "." in line] == []


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


def test_the_version_of_the_format_is_the_one_that_is_written() -> None:
    assert f"The format has version {FORMAT_VERSION}." in CACHE_PAGE


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
