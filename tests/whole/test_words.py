"""The language: a sentence names its subject first, so none begins with a possessor or a relative clause."""

import re
from pathlib import Path

import pytest

from tests import ROOT

FOLDERS = ("cache", "featurize", "train", "data", "tests", ".docs")
SUFFIXES = (".py", ".md", ".html")
# Questions may begin so, and headings.
BURIED = re.compile(r"""(?:^\s*|["'#|>-] |\"\"\"|[.:;!?] )(?:Of|What|Whoever|Nor|That which) [a-z][^?]*$""")


def has_buried_subject(line: str) -> bool:
    """Whether a sentence in a line of code or of a page begins with words that put off its subject."""
    return not line.startswith("#") and BURIED.search(line) is not None


def test_every_sentence_names_its_subject_first() -> None:
    files = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*.*") if file.suffix in SUFFIXES]
    files.append(ROOT / "README.md")
    # The faults below stand for themselves.
    files.remove(Path(__file__))
    lines = [(file, line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    assert len(lines) > 20_000
    assert [f"{file}: {line}" for file, line in lines if has_buried_subject(line)] == []


@pytest.mark.parametrize(
    "line",
    [
        '    """What the walk gives, a value for each clip."""',
        "        # Of five jobs on two cores, the fifth runs alone.",
        "It is kept. Whoever reads it, copies it.",
        "    Nor is it closed.",
    ],
)
def test_a_sentence_that_puts_off_its_subject_would_be_found(line: str) -> None:
    assert has_buried_subject(line)


@pytest.mark.parametrize("line", ["## What it promises", "What is it?", "the label of what is heard"])
def test_headings_and_questions_may_begin_so(line: str) -> None:
    assert not has_buried_subject(line)
