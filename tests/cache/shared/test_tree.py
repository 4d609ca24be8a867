"""Class folders in every layout."""

import os
import subprocess
from pathlib import Path

import pytest

from cache.shared.tree import class_places, is_background, look_at, subsets_of, walk


def write(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"x")


def audio(folder: Path, *folders: str) -> list[list[str]]:
    return [tree.audio for tree in walk(folder, folders)]


def test_clips_at_any_depth_belong_to_the_class_and_come_by_path(tmp_path: Path) -> None:
    write(tmp_path, "dog/b.wav", "dog/2024/may/x.flac", "dog/a.wav", "dog/2023/y.WAV", "cat/z.mp3")
    assert audio(tmp_path, "dog", "cat") == [
        ["dog/2023/y.WAV", "dog/2024/may/x.flac", "dog/a.wav", "dog/b.wav"],
        ["cat/z.mp3"],
    ]
    assert walk(tmp_path, ["dog"], deep=False)[0].audio == ["dog/a.wav", "dog/b.wav"]


def test_a_thousand_folders_within_each_other_are_as_good_as_one(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(os.open("deep.wav", os.O_CREAT, dir_fd=here))
    os.close(here)
    found = walk(tmp_path)[0].audio
    subprocess.run(["rm", "-r", tmp_path / "d"], check=True)  # Python's own removal may not get so deep
    assert found == ["d/" * 1200 + "deep.wav"]


def test_links_to_folders_are_followed_and_each_real_folder_is_looked_into_once(tmp_path: Path) -> None:
    write(tmp_path, "data/dog/2024/x.wav", "data/cat/y.wav", "disk/more/z.wav")
    dog = tmp_path / "data/dog"
    (dog / "again").symlink_to(dog / "2024")  # before 2024 by name
    (dog / "up").symlink_to(tmp_path / "data")
    (dog / "cats").symlink_to(tmp_path / "data/cat")
    (dog / "disk").symlink_to(tmp_path / "disk")
    (tmp_path / "disk/more/back").symlink_to(tmp_path / "disk")
    (tmp_path / "data/bird").symlink_to(tmp_path / "disk")
    assert audio(tmp_path / "data", "dog", "cat") == [["dog/2024/x.wav", "dog/disk/more/z.wav"], ["cat/y.wav"]]
    # A class folder that is a link itself goes before a link within another class.
    assert audio(tmp_path / "data", "dog", "bird") == [["dog/2024/x.wav", "dog/cats/y.wav"], ["bird/more/z.wav"]]


def test_hidden_files_count_nowhere_and_others_by_extension(tmp_path: Path) -> None:
    write(tmp_path, "dog/.a.wav", "dog/.git/b.wav", "dog/c.m4x", "dog/in/d.M4X", "dog/notes", "dog/e.wav")
    (tree,) = walk(tmp_path, ["dog"])
    assert tree.audio == ["dog/e.wav"]
    assert tree.others == {".m4x": 2, "": 1}


def test_a_folder_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "dog/in/x.wav", "dog/y.wav")
    really = os.scandir

    def refuse(folder: str) -> object:
        if folder.endswith("/in"):
            raise PermissionError(13, "Permission denied")
        return really(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    (tree,) = walk(tmp_path, ["dog"])
    assert tree.audio == ["dog/y.wav"]
    assert tree.unreadable == [("dog/in", "the folder cannot be read (Permission denied)")]
    assert look_at(tmp_path, tree).rejected == {"dog/in": "the folder cannot be read (Permission denied)"}


def test_a_folder_with_the_extension_of_a_clip_is_named_when_there_is_no_clip_in_it(tmp_path: Path) -> None:
    write(tmp_path, "dog/take.wav/1.wav", "dog/empty.wav/notes.txt")
    (tree,) = walk(tmp_path, ["dog"])
    assert tree.audio == ["dog/take.wav/1.wav"]
    assert look_at(tmp_path, tree).ignored == {"dog/empty.wav": "a folder"}


def test_the_limit_counts_clips_only(tmp_path: Path) -> None:
    write(tmp_path, "dog/2.wav", "dog/3.wav", "dog/4.wav")
    os.mkfifo(tmp_path / "dog/1.wav")
    looked = look_at(tmp_path, walk(tmp_path, ["dog"])[0], limit=2)
    assert list(looked.clips) == ["dog/2.wav", "dog/3.wav"]
    assert looked.ignored == {"dog/1.wav": "a pipe"}


def test_the_sides_of_a_split_are_told_by_the_first_folder() -> None:
    paths = ["train/dog/a.wav", "Valid/dog/b.wav", "test/dog/in/c.wav", "dog/d.wav", "train/x.wav", "train/cat/e.wav"]
    assert subsets_of(paths, ["dog"]) == ["train", "val", "test", None, None, None]
    for name in ("val", "valid", "validation", "dev", "eval"):
        assert subsets_of([f"{name}/dog/x.wav"], ["dog"]) == ["val"]


def test_a_class_that_is_called_like_a_side_is_a_class() -> None:
    assert subsets_of(["test/dog/a.wav", "dog/test/b.wav", "test/c.wav"], ["dog", "test"]) == [None] * 3


def test_eval_is_what_is_tested_on_where_something_else_is_validated_on() -> None:
    paths = ["train/dog/a.wav", "eval/dog/b.wav"]
    assert subsets_of(paths, ["dog"]) == ["train", "val"]
    assert subsets_of([*paths, "dev/dog/c.wav"], ["dog"]) == ["train", "test", "val"]


def test_a_class_lies_in_data_or_else_in_the_folders_of_a_split(tmp_path: Path) -> None:
    write(
        tmp_path,
        "train/dog/a.wav",
        "test/dog/b.wav",
        "val/cat/c.wav",
        "other/dog/d.wav",
        "bird/e.wav",
        "val/bird/f.wav",
    )
    write(tmp_path, "loose.wav", "train/loose.mp3", "notes.txt", ".hidden.wav")
    places = class_places(tmp_path)
    assert places.names == ["bird", "cat", "dog"]
    assert places.folders["dog"] == {"test": "test/dog", "train": "train/dog"}
    assert places.folders["bird"] == {"": "bird"}
    assert places.folders["other"] == {"": "other"}
    assert places.loose == ["loose.wav", "train/loose.mp3"]


def test_a_folder_that_is_linked_from_a_class_belongs_to_it_if_nothing_else_asks_for_it(tmp_path: Path) -> None:
    write(tmp_path, "dog/a.wav", "more/b.wav", "rest/c.wav", "d.wav")
    (tmp_path / "dog/link").symlink_to(tmp_path / "more")
    dog, rest = walk(tmp_path, ["dog"], with_rest=True)
    assert (dog.audio, rest.audio) == (["dog/a.wav", "dog/link/b.wav"], ["d.wav", "rest/c.wav"])


def test_four_names_mean_none_of_the_classes() -> None:
    assert all(map(is_background, ("background", "noise", "other", "silence", "Noise")))
    assert not any(map(is_background, ("dog", "noisy", "others", "")))
