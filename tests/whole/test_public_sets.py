"""The commands that train/README.md gives for public sets, on clips and tables named as theirs are."""

import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cache import open_cache
from tests import ROOT
from tests.helpers.commands import featurize
from tests.helpers.tones import PITCHES, tone
from train.dataset.splits import clip_groups, make_folds, shared_by_folds

PAGE = (ROOT / "train" / "README.md").read_text(encoding="utf-8")
# The columns of the sets' tables.
ESC50 = "filename,fold,target,category,esc10,src_file,take"
URBANSOUND8K = "slice_file_name,fsID,start,end,salience,fold,classID,class"


def esc50(root: Path) -> dict[str, tuple[int, int]]:
    """Write two takes of a recording per class and fold into one folder; return each clip's fold and recording."""
    rows = {
        f"{fold}-{100 * fold + i}-{take}-{10 * i}.wav": (fold, 100 * fold + i, f"{10 * i},{name},False", take)
        for fold in range(1, 6)
        for i, name in enumerate(PITCHES)
        for take in "AB"
    }
    lines = [f"{name},{fold},{about},{source},{take}" for name, (fold, source, about, take) in rows.items()]
    _write(root / "ESC-50-master", "meta/esc50.csv", ESC50, lines, [f"audio/{name}" for name in rows])
    return {name: row[:2] for name, row in rows.items()}


def urbansound8k(root: Path) -> dict[str, tuple[int, int]]:
    """Write two slices of a recording per class and fold into ten folders, and when in it they began."""
    rows = {
        f"{1000 * fold + i}-{i}-0-{n}.wav": (fold, 1000 * fold + i, f"{7.5 + n},{7.7 + n},1,{fold},{i},{name}")
        for fold in range(1, 11)
        for i, name in enumerate(PITCHES)
        for n in range(2)
    }
    lines = [f"{name},{source},{about}" for name, (_, source, about) in rows.items()]
    clips = [f"audio/fold{fold}/{name}" for name, (fold, _, _) in rows.items()]
    _write(root / "UrbanSound8K", "metadata/UrbanSound8K.csv", URBANSOUND8K, lines, clips)
    return {name: row[:2] for name, row in rows.items()}


def _write(root: Path, table: str, header: str, lines: list[str], clips: list[str]) -> None:
    (root / table).parent.mkdir(parents=True)
    (root / table).write_text("\n".join([header, *lines]) + "\n")
    for seed, (clip, line) in enumerate(zip(clips, lines, strict=True)):
        (root / clip).parent.mkdir(parents=True, exist_ok=True)
        (name,) = PITCHES.keys() & set(line.split(","))
        soundfile.write(root / clip, tone(name, 0.2, seed), 16000)


def given(command: str) -> list[str]:
    """Return the arguments of the one command of the page that begins so."""
    (line,) = (line for line in PAGE.splitlines() if line.startswith(command))
    return shlex.split(line.removeprefix("python -m "), comments=True)


@pytest.mark.parametrize(("name", "make"), [("ESC-50-master", esc50), ("UrbanSound8K", urbansound8k)])
def test_the_folds_are_those_of_the_sets_authors_and_takes_of_a_recording_are_one_group(
    name: str, make: Callable[[Path], dict[str, tuple[int, int]]], tmp_path: Path
) -> None:
    clips = make(tmp_path)
    _, data, *options = given(f"python -m featurize {name}")
    named = dict(zip(options[::2], options[1::2], strict=True))
    file = featurize(tmp_path / data, tmp_path / named["--cache"], "--labels", str(tmp_path / named["--labels"]))
    cache = open_cache(file)
    assert sorted(cache.class_names) == sorted(PITCHES)
    names = [path.split("/")[-1].split("#")[0] for path in cache.paths]
    assert sorted(names) == sorted(clips)
    _, _, _, *options = given(f"python -m train crossval {named['--cache']}")
    asked = dict(zip(options[::2], options[1::2], strict=True))
    groups = clip_groups(cache.paths, cache.columns["sha256"], asked.get("--group-by"))
    folds = make_folds(cache, groups, 0.0, 0, 5, 1, asked["--fold-by"])
    wanted = np.array([clips[name][0] for name in names])
    for fold in folds:
        np.testing.assert_array_equal(fold.test, np.flatnonzero(wanted == fold.number))
    assert len(folds) == wanted.max()
    assert shared_by_folds(cache.paths, groups, folds) == []
    sources = np.unique([clips[name][1] for name in names], return_inverse=True)[1]
    assert len(set(zip(groups.tolist(), sources.tolist(), strict=True))) == len(set(sources.tolist()))
