"""Caches that are made of caches: short clips, labels and corrections for them, and when two are equal."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from cache import Cache, open_cache
from cache.file.columns import COLUMNS, REJECTED
from cache.labels.corrections import Correction, Decision, append_correction
from featurize import build

CLASSES = ("ant", "bee", "cow")


def quiet(line: str) -> None:
    del line


def write(file: Path, seed: int = 0, seconds: float = 0.05) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, np.random.default_rng(seed).normal(0, 0.1, round(16000 * seconds)).clip(-1, 1), 16000)
    return file


def link(file: Path, top: Path, into: Path) -> None:
    """The same file, to its number, in another folder."""
    target = into / file.relative_to(top)
    target.parent.mkdir(parents=True, exist_ok=True)
    os.link(file, target)


def made(data: Path, file: Path, **options: Any) -> Cache:
    return build(data, file, notify=quiet, **options).cache


def assert_equal(cache: Cache, expected: Cache) -> None:
    """Everything but where it lies and when it was made is the same."""
    assert cache.X.tobytes() == expected.X.tobytes()
    assert cache.y.tobytes() == expected.y.tobytes()
    for name in COLUMNS:
        assert cache.columns[name].tolist() == expected.columns[name].tolist(), name
        assert cache.columns[name].dtype == expected.columns[name].dtype, name
    for name in REJECTED:
        assert cache.rejected[name].tolist() == expected.rejected[name].tolist(), name
    assert cache.header.attributes() == expected.header.attributes()


def assert_up_to_date(data: Path, file: Path) -> None:
    """The next run of featurize has nothing to do."""
    before = open_cache(file)
    result = build(data, file, notify=quiet)
    assert (result.n_computed, result.n_removed) == (0, 0)
    assert result.cache.stamp == before.stamp


def labelled(folder: Path, names: str, seed: int = 0) -> Path:
    """A recording of as many seconds as there are labels, each in the first quarter of its second."""
    write(folder / "rec" / f"{seed}.wav", seed, len(names))
    letters = {name[0]: name for name in CLASSES}
    lines = [f"{i}\t{i + 0.25}\t{letters[letter]}" for i, letter in enumerate(names)]
    (folder / "rec" / f"{seed}.txt").write_text("\n".join(lines) + "\n")
    return folder / "rec" / f"{seed}.txt"


def correct(file: Path, cache: Cache, path: str, decision: Decision, new: str = "", when: str = "2026-01-01") -> None:
    row = cache.paths.index(path)
    old = cache.class_names[cache.labels[row]]
    sha256 = cache.columns["sha256"][row].decode()
    append_correction(file, Correction(sha256, path, old, decision, new, "ann", when, "runs/1"))
