"""Splits that are given: kept as they are, completed where a side is missing, and what does not fit is named."""

import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from cache.shared.errors import UserError
from cache.shared.segment import recording_of
from cache.shared.text import csv_line
from featurize import build
from tests.helpers.sounds import noise
from train.dataset.given import choose_split, match_paths
from train.dataset.splits import SPLITS, clip_groups

CLASSES = ("dog", "cat")


class FewClips:
    """The part of a cache that a split needs."""

    def __init__(self, paths: Sequence[str], class_names: tuple[str, ...] = CLASSES) -> None:
        self.clip_paths = list(paths)
        self.n_clips = len(self.clip_paths)
        self.class_names, self.header = class_names, SimpleNamespace(folders=class_names)
        self.clip_labels = np.array([class_names.index(path.split("/")[-2]) for path in paths])
        self.file, self.data_folder = Path("data/features.h5"), str(Path("data").absolute())


def clips(prefix: str = "", n: int = 10) -> list[str]:
    return [f"{prefix}{name}/{i}.wav" for name in CLASSES for i in range(n)]


def split(paths: Sequence[str], groups: Any = None, **given: Any) -> tuple[dict[str, str], list[str]]:
    cache: Any = FewClips(paths)
    of_each = np.arange(len(paths)) if groups is None else np.asarray(groups)
    side, remarks = choose_split(cache, of_each, given.pop("val", 0.2), given.pop("test", 0.2), 0, **given)
    return dict(zip(paths, [SPLITS[i] for i in side.tolist()], strict=True)), remarks


def file(folder: Path, *lines: str) -> str:
    (folder / "file").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(folder / "file")


@pytest.mark.parametrize(("val", "test"), [("val", "test"), ("valid", "test"), ("validation", "test"), ("dev", "eval")])
def test_folders_that_are_sides_are_kept_to(val: str, test: str) -> None:
    paths = [*clips("train/"), *clips(f"{val}/", 3), *clips(f"{test}/", 4)]
    found, remarks = split(paths)
    wanted = {"train": "train", val: "val", test: "test"}
    assert found == {path: wanted[path.split("/")[0]] for path in paths}
    assert remarks == []


def test_a_share_that_a_given_split_leaves_without_effect_is_named() -> None:
    paths = [f"{folder}/{name}/{i}.wav" for folder in ("train", "test") for name in CLASSES for i in range(9)]
    kept, remarks = split(paths, asked=["val", "test"])
    assert remarks == ["--test has no effect: the given split has its own test clips; --split random draws others"]
    assert kept == split(paths)[0]
    assert split(paths, table="random", asked=["val", "test"])[1] == []


def test_a_side_that_is_missing_is_made_from_train_and_the_other_stays() -> None:
    paths = [*clips("train/", 20), *clips("test/", 3)]
    found, remarks = split(paths)
    assert [path for path in paths if found[path] == "test"] == clips("test/", 3)
    validation = [path for path in paths if found[path] == "val"]
    assert len(validation) == 8
    assert all(path.startswith("train/") for path in validation)
    assert remarks == []
    only_train, _ = split(clips("train/", 20))
    assert sorted({*only_train.values()}) == ["test", "train", "val"]


@pytest.mark.parametrize("folder", ["test", "val"])
def test_a_given_subset_that_lacks_a_class_is_remarked(folder: str) -> None:
    paths = [*clips("train/", 20), *(f"{folder}/dog/{i}.wav" for i in range(4))]
    found, remarks = split(paths)
    assert [path for path in paths if found[path] == folder] == paths[-4:]
    (remark,) = remarks
    assert remark == f"the given split has no clip of cat in {folder}"


def test_classes_of_one_recording_are_named_with_the_command_that_trains_without_them() -> None:
    paths = [*clips(), *(f"{name}/{i}.wav" for name in ("frog", "newt") for i in range(4))]
    cache: Any = FewClips(paths, (*CLASSES, "frog", "newt"))
    groups = np.array([paths.index(next(p for p in paths if p.split("/")[0] == path.split("/")[0])) for path in paths])
    groups[:20] = np.arange(20)
    with pytest.raises(UserError) as refused:
        choose_split(cache, groups, 0.2, 0.2, 0)
    assert "frog, newt have clips of fewer than 3 independent groups" in str(refused.value)
    assert "dog 10, cat 10, frog 1, newt 1" in str(refused.value)
    assert "train without frog and newt: `python -m featurize data --classes dog,cat`" in str(refused.value)
    assert not set(choose_split(cache, groups, 0.0, 0.0, 0)[0]) - {0}


def test_the_folders_are_no_split_when_told_so() -> None:
    paths = [*clips("train/"), *clips("val/"), *clips("test/")]
    found, _ = split(paths, table="random")
    assert any(found[path] != path.split("/")[0] for path in paths)
    assert len({*found.values()}) == 3


def test_a_table_says_where_each_clip_goes_by_path_or_file_and_by_the_end_of_it(tmp_path: Path) -> None:
    paths = clips()
    sides = ["train", "val", "test", "train", "dev"] * 4
    known = {"dev": "val"}
    wanted = {path: known.get(side, side) for path, side in zip(paths, sides, strict=True)}
    for header, prefix in (("path,split", ""), ("File,Split", "/somewhere/else/"), ("x,path,split", "../data/")):
        x = "1," if header.startswith("x") else ""
        lines = [f"{x}{prefix}{path},{side}" for path, side in zip(paths, sides, strict=True)]
        found, remarks = split(paths, table=file(tmp_path, header, *lines))
        assert found == wanted
        assert remarks == []
    longer = [f"deep/below/{path}" for path in paths]
    lines = [f"{path},{side}" for path, side in zip(paths, sides, strict=True)]
    found, _ = split(longer, table=file(tmp_path, "path,split", *lines))
    assert list(found.values()) == list(wanted.values())


def test_lists_name_the_validation_and_the_test_clips_and_the_rest_trains(tmp_path: Path) -> None:
    paths = clips()
    (tmp_path / "val").write_text("dog/0.wav\ncat/0.wav\n")
    (tmp_path / "test").write_text("\ufeffdog/1.wav\r\ncat/1.wav\r\n\r\n", encoding="utf-8")
    found, remarks = split(paths, val_list=str(tmp_path / "val"), test_list=str(tmp_path / "test"))
    assert {path for path in paths if found[path] == "val"} == {"dog/0.wav", "cat/0.wav"}
    assert {path for path in paths if found[path] == "test"} == {"dog/1.wav", "cat/1.wav"}
    assert remarks == []


def test_a_path_that_is_no_clip_is_named_and_counted(tmp_path: Path) -> None:
    lines = [*(f"{path},{side}" for path, side in zip(clips(), ["train", "val", "test", "train"] * 5, strict=True))]
    _, remarks = split(clips(), table=file(tmp_path, "path,split", *lines, "dog/lost.wav,test", "x/0.wav,val"))
    (remark,) = remarks
    assert "2 of the 22 paths" in remark
    assert "dog/lost.wav" in remark
    with pytest.raises(UserError, match=r"none of the 1 paths .* 'bird/0.wav'"):
        split(clips(), table=file(tmp_path, "path,split", "bird/0.wav,test"))


def test_two_sides_that_share_a_group_are_named_and_counted(tmp_path: Path) -> None:
    groups = np.arange(20)
    groups[[1, 2]] = 0  # with dog/0
    groups[[11, 12]] = 10
    lines = [f"{path},{'test' if path.endswith(('2.wav', '3.wav')) else 'train'}" for path in clips()]
    _, remarks = split(clips(), groups, val=0.0, table=file(tmp_path, "path,split", *lines))
    (remark,) = remarks
    assert "2 groups (6 clips) in two subsets" in remark
    assert "dog/0.wav is in train" in remark
    assert "dog/2.wav" in remark


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (["name,split", "dog/0.wav,test"], "needs the columns path"),
        (["path,split", "dog/0.wav,later"], r"line 2: the split is 'later'"),
        (["path,split", "0.wav,test"], "the end of 2 paths"),
        (["path,split", "dog/0.wav,test", "dog/0.wav,val"], "is in test already"),
        (["path,split"], "names no clip"),
        (["path,split", *(f"{path},test" for path in clips()[:10])], "no clip of dog to train on"),
        (["path,split", *(f"{path},test" for path in clips())], "no clips to train on"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_line(lines: list[str], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=complaint):
        split(clips(), table=file(tmp_path, *lines))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_is_read_in_the_dialects_of_tables_of_labels(separator: str, encoding: str, tmp_path: Path) -> None:
    paths = clips()
    sides = ["train", "val", "test", "train", "dev"] * 4
    rows = [["Filename", "Split"], *([f'"{path}"', f" {side} "] for path, side in zip(paths, sides, strict=True))]
    text = "\r\n".join([f"sep={separator}", "", *(separator.join(row) for row in rows)])
    (tmp_path / "split.csv").write_bytes(text.encode(encoding))
    found, remarks = split(paths, table=str(tmp_path / "split.csv"))
    assert list(found.values()) == [{"dev": "val"}.get(side, side) for side in sides]
    assert remarks == []


def test_the_split_that_a_run_wrote_names_every_clip_again(tmp_path: Path) -> None:
    paths = [f"{sign}1/{name}/{i}.wav" for name in CLASSES for sign in "=+-@'," for i in range(2)]
    rows = [csv_line([path, "val" if i % 3 else "train"]).strip() for i, path in enumerate(paths)]
    found, remarks = split(paths, table=file(tmp_path, "path,split", *rows), test=0.0)
    assert list(found.values()) == ["val" if i % 3 else "train" for i in range(len(paths))]
    assert remarks == []


def test_every_line_of_a_table_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    table = file(tmp_path, "split,path", "train,dog/0.wav", "train", "later,dog/1.wav", "a,b,c", 'test,"dog/2.wav')
    with pytest.raises(UserError) as error:
        split(clips(), table=table)
    text = str(error.value)
    assert "line 3: it has no path" in text
    assert "line 4: the split is 'later'; write train, val or test" in text
    assert "line 5: it has 3 cells, and the header has 2" in text
    assert "line 6: a quotation mark is not closed" in text


def test_a_side_that_is_given_without_a_clip_of_a_class_is_remarked() -> None:
    _, remarks = split([*clips("train/"), *clips("val/", 2), "test/dog/0.wav"])
    assert remarks == ["the given split has no clip of cat in test"]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    for given in ("table", "val_list", "test_list"):
        with pytest.raises(UserError, match=r"pipe.csv is not a regular file"):
            split(clips(), **{given: str(tmp_path / "pipe.csv")})


def test_a_table_that_is_not_there_or_comes_with_lists_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        split(clips(), table=str(tmp_path / "missing.csv"))
    with pytest.raises(UserError, match="leave out"):
        split(clips(), table="a.csv", val_list="b.txt")


def test_paths_match_by_whole_parts_in_any_unicode_form_and_an_equal_path_wins() -> None:
    paths = ["dog/a.wav", "deep/dog/a.wav", "hotdog/a.wav", "caf\u00e9/b.wav"]
    assert match_paths(["dog/a.wav", "hotdog/a.wav", "./deep/dog/a.wav", "g/a.wav", "c.wav"], paths) == [
        [0],
        [2],
        [1],
        [],
        [],
    ]
    assert match_paths(["cafe\u0301/b.wav", r"data\cafe\b.wav", "x/y/deep/dog/a.wav"], paths) == [[3], [], [0, 1]]


def test_a_table_may_name_a_recording_for_all_of_its_segments_and_its_folder_may_be_a_side(tmp_path: Path) -> None:
    data = tmp_path / "field"
    for number, folder in enumerate(["train", "val", "test"]):
        (data / folder).mkdir(parents=True)
        soundfile.write(data / folder / f"r{number}.wav", noise(4 * 16000, seed=number), 16000)
        (data / folder / f"r{number}.txt").write_text("0.5\t1.0\ta\n1.5\t2.5\tb\n2.0\t3.0\ta\n")
    cache = build(data, labels=[data]).cache
    groups = clip_groups(cache.paths, cache.columns["sha256"])
    by_folder, remarks = choose_split(cache, groups, 0.2, 0.2, 0)
    assert [SPLITS[side] for side in by_folder] == [path.split("/")[0] for path in cache.paths]
    assert remarks == []
    table = tmp_path / "split.csv"
    table.write_text("file,split\nr0.wav,test\nval/r1.wav,train\nr2.wav,val\n")
    by_table, remarks = choose_split(cache, groups, 0.2, 0.2, 0, table=str(table))
    sides = {"train/r0.wav": "test", "val/r1.wav": "train", "test/r2.wav": "val"}
    assert [SPLITS[side] for side in by_table] == [sides[recording_of(path)] for path in cache.paths]
    assert remarks == []
