"""cache info: what is in a cache, and whether DATA is still what it was made of."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from cache import open_cache
from cache.file.container import write_around_rows
from cache.look.changes import Changes, changes
from featurize import build
from tests.helpers.commands import cache_here


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three clips a class, a bad one, a dangling link and a text file, and its cache."""
    folder = tmp_path_factory.mktemp("info")
    rng = np.random.default_rng(0)
    for name in ("dog", "cat", "bird"):
        (folder / "data" / name).mkdir(parents=True)
        for i in range(3):
            soundfile.write(folder / "data" / name / f"{i}.wav", rng.normal(0, 0.1, 8000), 16000)
    (folder / "data/dog/bad.wav").write_text("no audio")
    (folder / "data/dog/nowhere.wav").symlink_to("gone.wav")
    (folder / "data/dog/notes.txt").write_text("not a clip")
    build(folder / "data", folder / "f.h5")
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(made, tmp_path / "copy", symlinks=True))


def since(folder: Path) -> Changes:
    return changes(open_cache(folder / "f.h5"))


def test_what_nobody_touched_is_unchanged_bad_clips_and_all(here: Path) -> None:
    assert since(here) == Changes(str(here / "data"), others={".txt": 1})
    assert since(here).state == "unchanged"


@pytest.mark.parametrize("named", [{"tables": ("../..",)}, {"data_dir": "../.."}])
def test_a_cache_that_leads_out_of_its_folder_makes_info_walk_no_further_than_a_bound(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: dict[str, Any]
) -> None:
    for i in range(200):
        (tmp_path / "wide/dog" / str(i)).mkdir(parents=True)
    shutil.move(here, tmp_path / "wide/x/y")
    file = tmp_path / "wide/x/y/f.h5"
    cache = open_cache(file)
    arrays = {name: np.array(array) for name, array in {"y": cache.y, **cache.columns, **cache.rejected}.items()}
    attributes = replace(cache.header, **named).attributes()
    write_around_rows(file, len(cache), cache.X.dtype, arrays, attributes)
    monkeypatch.setattr("cache.look.changes.MOST_FOLDERS", 20)
    entered, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path=".": entered.append(path) or scandir(path))
    found = changes(open_cache(file))
    assert found.state == "unknown"
    assert "there are more than 31 folders in" in found.reason
    assert len(entered) < 50


def test_changed_gone_and_new_clips_are_counted(here: Path) -> None:
    os.utime(here / "data/dog/0.wav", ns=(0, 1))
    with (here / "data/cat/0.wav").open("ab") as file:
        file.write(b"\0")
    (here / "data/dog/bad.wav").write_text("no audio, but other bytes")
    (here / "data/bird/2.wav").unlink()
    for name in ("new.WAV", "new.flac", "notes.txt", ".hidden.wav"):
        (here / "data/cat" / name).write_bytes(b"x")
    (here / "data/cat/folder.wav").mkdir()
    found = since(here)
    assert (found.n_changed, found.n_gone, found.n_new) == (3, 1, 2)
    assert found.state == "changed"


def test_after_featurize_nothing_is_changed_any_more(here: Path) -> None:
    (here / "data/bird/2.wav").unlink()
    shutil.copy(here / "data/dog/1.wav", here / "data/dog/copy.wav")
    (here / "data/cat/0.wav").rename(here / "data/cat/\udcff.wav")
    assert since(here).state == "changed"
    build(here / "data", here / "f.h5")
    assert since(here).state == "unchanged"


def test_a_class_folder_that_is_gone_takes_its_clips_with_it(here: Path) -> None:
    shutil.rmtree(here / "data/cat")
    assert since(here).n_gone == 3


@pytest.mark.parametrize("gone", ["moved", "no folder", "empty"])
def test_without_data_nothing_is_said_of_changes(gone: str, here: Path) -> None:
    (here / "data").rename(here / "elsewhere")
    if gone == "no folder":
        (here / "data").write_text("a file")
    if gone == "empty":
        (here / "data").mkdir()
    found = since(here)
    assert found.state == "unknown"
    assert "not there" in found.reason


def test_a_folder_that_cannot_be_read_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = os.scandir

    def refuse(folder: str) -> Any:
        if folder.endswith("dog"):
            raise PermissionError(13, "Permission denied")
        return really(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert since(here).reason == f"{here}/data/dog: the folder cannot be read (Permission denied)"


def test_data_is_looked_for_from_the_cache_wherever_both_were_moved(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = here.rename(here.with_name("moved"))
    monkeypatch.chdir(moved)
    assert changes(open_cache("f.h5")).state == "unchanged"
    assert changes(open_cache("f.h5")).data == str(moved / "data")


def test_no_clip_is_opened(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = open_cache(here / "f.h5")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a file was opened")

    for name in ("io.open", "os.open", "builtins.open"):
        monkeypatch.setattr(name, refuse)
    found = changes(cache)
    monkeypatch.undo()
    assert found.state == "unchanged"


def test_the_command_says_it_in_words_and_in_json(here: Path) -> None:
    def info(*arguments: str) -> str:
        done = cache_here("info", here / "f.h5", *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    assert f"data         {here / 'data'}, unchanged since\n" in info()
    (here / "data/dog/new.wav").write_bytes(b"x")
    assert "changed since: 1 new; `python -m featurize` brings" in info()
    report = json.loads(info("--json"))
    assert report["data"]["state"] == "changed"
    assert (report["data"]["n_new"], report["data"]["n_gone"]) == (1, 0)
    shutil.rmtree(here / "data")
    assert "not compared (the class folders are not there" in info()
    assert json.loads(info("--json"))["data"]["n_new"] is None
