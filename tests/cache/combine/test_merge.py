"""merge(): to the bit what featurize makes of the clips of several caches, or the reasons why not."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache import merge, open_cache, subset
from cache.labels.corrections import FILE, Decision
from cache.look.info import check_rows
from cache.shared.errors import UserError
from tests import ROOT
from tests.helpers.derived import CLASSES, assert_equal, assert_up_to_date, correct, labelled, link, made, quiet, write


@pytest.mark.parametrize("seed", range(6))
def test_any_clips_of_any_number_of_folders_are_what_featurize_makes_of_their_union(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    union, n_caches = tmp_path / "union", int(rng.integers(2, 5))
    subsets = ("train/", "val/", "test/") if seed % 2 else ("",)
    files = [
        write(union / f"{rng.choice(subsets)}{rng.choice(CLASSES)}/{'sub/' * int(rng.integers(2))}{i}.wav", i)
        for i in range(int(rng.integers(4, 20)))
    ]
    bad = union / files[0].parent / "bad.wav"
    bad.write_bytes(b"not audio")
    caches = []
    for k in range(n_caches):
        folder = tmp_path / f"part{k}"
        for i, file in enumerate([*files, bad]):
            # Each file in one at least, and some in several.
            if i % n_caches == k or rng.random() < 0.3:
                link(file, union, folder)
        if any(folder.rglob("[0-9]*.wav")):
            caches.append(made(folder, tmp_path / f"{k}.h5").file)
    if len(caches) < 2:
        pytest.skip("one folder has all")
    dtype = {"dtype": "float16"} if seed == 3 else {}
    for file in caches if dtype else []:
        made(tmp_path / f"part{file.stem}", file, **dtype)
    merged = merge(caches, tmp_path / "merged.h5", data=union)
    assert_equal(merged, made(union, tmp_path / "features.h5", **dtype))
    assert check_rows(merged) == len(files)
    assert_up_to_date(union, merged.file)


def test_the_usual_three_classes_come_in_their_usual_order_with_background_behind(tmp_path: Path) -> None:
    for name in ("dog", "cat", "bird", "noise"):
        write(tmp_path / "data" / name / "1.wav")
    parts = [
        made(tmp_path / "data", tmp_path / f"{name}.h5", classes=name).file for name in ("bird", "cat,noise", "dog")
    ]
    merged = merge(parts, tmp_path / "merged.h5")
    assert merged.class_names == ("dog", "cat", "bird", "noise")
    assert_equal(merged, made(tmp_path / "data", tmp_path / "features.h5"))


def test_classes_that_were_ordered_by_hand_keep_their_order_and_new_ones_come_last(tmp_path: Path) -> None:
    for name in CLASSES:
        write(tmp_path / "data" / name / "1.wav")
    parts = [made(tmp_path / "data", tmp_path / f"{name}.h5", classes=name).file for name in ("cow,ant", "bee,ant")]
    merged = merge(parts, tmp_path / "merged.h5")
    assert merged.class_names == ("cow", "ant", "bee")
    assert_equal(merged, made(tmp_path / "data", tmp_path / "features.h5", classes="cow,ant,bee"))


def test_at_most_so_many_of_each_class_are_those_that_featurize_takes(tmp_path: Path) -> None:
    for i in range(9):
        file = write(tmp_path / "union" / ("ant" if i < 7 else "bee") / f"{i}.wav", i)
        link(file, tmp_path / "union", tmp_path / f"part{i % 2}")
    (tmp_path / "union/ant/00.wav").write_bytes(b"not audio")
    link(tmp_path / "union/ant/00.wav", tmp_path / "union", tmp_path / "part1")
    parts = [made(tmp_path / f"part{k}", tmp_path / f"{k}.h5", max_per_class=3).file for k in (0, 1)]
    merged = merge(parts, tmp_path / "merged.h5", data=tmp_path / "union")
    assert merged.n_per_class == {"ant": 2, "bee": 2}
    assert_equal(merged, made(tmp_path / "union", tmp_path / "features.h5", max_per_class=3))


def test_segments_of_labels_come_behind_the_files_and_their_tables_are_remembered(tmp_path: Path) -> None:
    data = tmp_path / "data"
    tables = [labelled(data, "abab", 1), labelled(data, "bbca", 2)]
    write(data / "ant/whole.wav", 9)
    options: dict[str, Any] = {"classes": "ant,bee,cow", "widen": True, "background": 2}
    one = made(data, tmp_path / "1.h5", labels=tables[0], **options | {"classes": "ant,bee"}).file
    other = made(data, tmp_path / "2.h5", labels=tables[1], **options).file
    merged = merge([other, one], tmp_path / "merged.h5")
    expected = made(data, tmp_path / "features.h5", labels=tables[::-1], **options)
    assert merged.class_names == ("ant", "bee", "cow", "background")
    assert [path.resolve() for path in merged.table_paths] == tables[::-1]
    assert_equal(merged, expected)
    assert_up_to_date(data, merged.file)


def test_of_labelled_segments_at_most_so_many_are_taken_of_all_recordings_in_turn(tmp_path: Path) -> None:
    data = tmp_path / "data"
    tables = [labelled(data, "ababa", 1), labelled(data, "bbaaa", 2)]
    parts = [made(data, tmp_path / f"{k}.h5", labels=table, max_per_class=3).file for k, table in enumerate(tables)]
    merged = merge(parts, tmp_path / "merged.h5")
    assert_equal(merged, made(data, tmp_path / "features.h5", labels=tables, max_per_class=3))


def test_classes_of_several_folders_are_merged_with_their_members(tmp_path: Path) -> None:
    for i, name in enumerate(("ant", "bee", "cow", "bee", "ant")):
        write(tmp_path / "data" / name / f"{i}.wav", i)
    classes = ("insect=bee+ant", "cow")
    parts = [
        made(tmp_path / "data", tmp_path / f"{k}.h5", classes=names).file for k, names in enumerate((classes, "cow"))
    ]
    merged = merge(parts, tmp_path / "merged.h5")
    assert_equal(merged, made(tmp_path / "data", tmp_path / "features.h5", classes=classes))


@pytest.fixture
def corrected(tmp_path: Path) -> list[Path]:
    """Two caches in folders of their own, the first with corrections beside it."""
    for i in range(8):
        write(tmp_path / "data" / CLASSES[i % 3] / f"{i}.wav", i)
    files = []
    for folder, classes in (("a", "ant,bee"), ("b", "bee,cow")):
        (tmp_path / folder).mkdir()
        files.append(made(tmp_path / "data", tmp_path / folder / "f.h5", classes=classes).file)
    cache = open_cache(files[0])
    correct(tmp_path / "a" / FILE, cache, "ant/0.wav", Decision.CHANGE, "bee")
    correct(tmp_path / "a" / FILE, cache, "ant/3.wav", Decision.UNUSABLE)
    correct(tmp_path / "a" / FILE, cache, "bee/1.wav", Decision.RIGHT)
    made(tmp_path / "data", files[0])
    return files


def test_corrections_go_with_the_clips(corrected: list[Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    merged = merge(corrected, tmp_path / "out/merged.h5")
    assert merged.n_corrected == 1
    (tmp_path / "fresh").mkdir()
    (tmp_path / "fresh" / FILE).write_bytes((tmp_path / "a" / FILE).read_bytes())
    assert_equal(merged, made(tmp_path / "data", tmp_path / "fresh/features.h5"))
    assert (tmp_path / "out" / FILE).read_bytes() == (tmp_path / "a" / FILE).read_bytes()
    assert_up_to_date(tmp_path / "data", merged.file)


def test_corrections_of_others_at_the_place_of_the_cache_are_never_written_to(
    corrected: list[Path], tmp_path: Path
) -> None:
    correct(tmp_path / "b" / FILE, open_cache(corrected[1]), "cow/2.wav", Decision.RIGHT)
    before = (tmp_path / "b" / FILE).read_bytes()
    with pytest.raises(UserError, match=r"b/corrections\.csv lacks 2 corrections that the caches have \(ant/0\.wav"):
        merge(corrected, tmp_path / "b/merged.h5")
    assert (tmp_path / "b" / FILE).read_bytes() == before
    assert not (tmp_path / "b/merged.h5").exists()


def test_a_correction_that_one_cache_has_not_followed_is_refused(corrected: list[Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    correct(tmp_path / "a" / FILE, open_cache(corrected[1]), "cow/2.wav", Decision.UNUSABLE)
    with pytest.raises(UserError, match=r"1 clip is not as corrections\.csv says \(cow/2\.wav\)"):
        merge(corrected, tmp_path / "out/merged.h5")
    assert [*(tmp_path / "out").iterdir()] == []


def test_every_reason_is_named_in_one_line_and_nothing_is_written(tmp_path: Path) -> None:
    data, other = tmp_path / "data", tmp_path / "other"
    for i in range(4):
        write(data / "ant" / f"{i}.wav", i)
        write(other / "ant" / f"{i}.wav", i + (i < 2))
    write(data / "bee/1.wav")
    write(other / "bee/1.wav")
    (other / "ant/3.wav").write_bytes(b"not audio")
    one = made(data, tmp_path / "1.h5").file
    two = made(other, tmp_path / "2.h5", max_per_class=9, settings={"fmax": 4000.0}, classes=("ant=ant", "bee")).file
    with pytest.raises(UserError) as refused:
        merge([one, two], tmp_path / "merged.h5", data=data)
    assert str(refused.value) == (
        f"the caches do not fit together: fmax is 8000.0 in {one} and 4000.0 in {two};"
        f" max_per_class is 0 in {one} and 9 in {two};"
        f" ant/0.wav, ant/1.wav: another content in {two} than in {one};"
        " ant/3.wav: used by one cache and rejected by another"
    )
    assert not (tmp_path / "merged.h5").exists()


def test_a_clip_of_two_classes_and_a_class_of_other_members_are_refused(tmp_path: Path) -> None:
    for name in CLASSES:
        write(tmp_path / "data" / name / "1.wav")
    one, two = (
        made(tmp_path / "data", tmp_path / f"{k}.h5", classes=names).file
        for k, names in enumerate((("x=ant", "y=bee+cow"), ("x=ant+bee", "cow")))
    )
    with pytest.raises(UserError) as refused:
        merge([one, two], tmp_path / "merged.h5")
    said = str(refused.value)
    assert f"the class x is ant in {one} and ant+bee in {two}" in said
    assert "bee belongs to the class y in one cache and to x in another" in said
    assert f"bee/1.wav, cow/1.wav: another class in {two} than in {one}" in said


def test_a_recording_with_labels_in_one_cache_is_not_a_clip_of_another(tmp_path: Path) -> None:
    data = tmp_path / "data"
    table = labelled(data, "ab", 1)
    write(data / "cow/1.wav")
    one = made(data, tmp_path / "1.h5", classes="rec,cow").file
    two = made(data, tmp_path / "2.h5", labels=table).file
    with pytest.raises(UserError, match=r"rec/1\.wav: a clip in one cache, and a recording with labels in another"):
        merge([one, two], tmp_path / "merged.h5")


def test_folders_beside_train_and_within_it_are_refused(tmp_path: Path) -> None:
    for name in ("ant", "bee"):
        write(tmp_path / "one" / name / "1.wav")
        write(tmp_path / "two/train" / name / "2.wav")
    parts = [made(tmp_path / name, tmp_path / f"{name}.h5").file for name in ("one", "two")]
    with pytest.raises(UserError, match="ant, bee: in train, val or test in one cache, and beside these in another"):
        merge(parts, tmp_path / "merged.h5", data=tmp_path)


@pytest.mark.parametrize("crop", [{"crop": "segments", "overlap": 0.25}, {"crop": "loudest", "n_windows": 2}])
def test_the_windows_of_a_long_clip_stay_together_and_it_counts_once(crop: dict[str, Any], tmp_path: Path) -> None:
    union = tmp_path / "union"
    for i in range(9):
        file = write(union / CLASSES[i % 3] / f"{i}.wav", i, (0.05, 5, 9, 13)[i % 4])
        for k in {i % 2, i % 3 % 2}:
            link(file, union, tmp_path / f"part{k}")
    for most in (0, 2):
        options = {"max_per_class": most, **crop}
        parts = [made(tmp_path / f"part{k}", tmp_path / f"{k}.h5", **options).file for k in (0, 1)]
        merged = merge(parts, tmp_path / f"merged{most}.h5", data=union)
        assert_equal(merged, made(union, tmp_path / f"{most}.h5", **options))
        assert merged.n_clips == (6 if most else 9) < len(merged)
        assert_up_to_date(union, merged.file)
    part = subset(merged.file, tmp_path / "part.h5", classes="bee", notify=quiet)
    assert_equal(part, made(union, tmp_path / "bee.h5", classes="bee", max_per_class=2, **crop))


def test_caches_whose_long_clips_were_cut_otherwise_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "data/ant/1.wav")
    one, two = (made(tmp_path / "data", tmp_path / f"{crop}.h5", crop=crop).file for crop in ("middle", "segments"))
    with pytest.raises(UserError, match=f"crop is middle in {one} and segments in {two}"):
        merge([one, two], tmp_path / "merged.h5")


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    """Caches of two folders."""
    for k in (0, 1):
        for name in CLASSES:
            write(tmp_path / str(k) / name / f"{k}.wav", k)
    return [made(tmp_path / str(k), tmp_path / f"{k}.h5").file for k in (0, 1)]


def test_clips_in_two_folders_need_the_folder_that_is_to_hold_them(two: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"name with --data the folder that holds all of them"):
        merge(two, tmp_path / "merged.h5")
    with pytest.raises(UserError, match=r"nowhere is not a folder"):
        merge(two, tmp_path / "merged.h5", data=tmp_path / "nowhere")
    assert len(merge(two, tmp_path / "merged.h5", data=tmp_path)) == 6


def test_a_file_that_is_there_is_never_replaced(two: list[Path], tmp_path: Path) -> None:
    before = two[0].read_bytes()
    (tmp_path / "dangling.h5").symlink_to("nowhere.h5")
    for out in (two[0], tmp_path, tmp_path / "dangling.h5"):
        with pytest.raises(UserError, match="exists already; give another --out, or delete it first"):
            merge(two, out, data=tmp_path)
    assert two[0].read_bytes() == before
    with pytest.raises(UserError, match="1 cache is given; give two or more"):
        merge(two[:1], tmp_path / "merged.h5")


@pytest.mark.slow
def test_a_merge_that_is_killed_anywhere_leaves_no_cache_and_the_next_one_cleans_up(
    two: list[Path], tmp_path: Path
) -> None:
    expected = merge(two, tmp_path / "expected.h5", data=tmp_path)
    code = (
        "import os, signal, sys\n"
        "from cache.__main__ import app\n"
        "left = int(sys.argv.pop(1))\n"
        "def counted(really):\n"
        "    def call(*args, **options):\n"
        "        global left\n"
        "        left -= 1\n"
        "        if left == 0:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return really(*args, **options)\n"
        "    return call\n"
        "for name in ('pwrite', 'copy_file_range', 'ftruncate', 'fsync', 'replace'):\n"
        "    setattr(os, name, counted(getattr(os, name)))\n"
        "app()\n"
    )
    out = tmp_path / "merged.h5"
    n_killed = 0
    for call in (1, 2, 3, 5, 8, 11, 14, 17):
        command = [sys.executable, "-c", code, str(call), "merge", *map(str, two), "--out", str(out)]
        done = subprocess.run(
            [*command, "--data", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        n_killed += 1
        # Killed after the last call, the cache is there, and it is whole.
        if out.exists():
            assert_equal(open_cache(out), expected)
            out.unlink()
    assert n_killed > 3
    out.unlink(missing_ok=True)
    assert_equal(merge(two, out, data=tmp_path), expected)
    assert {file.name for file in tmp_path.iterdir()} == {"0", "1", "0.h5", "1.h5", "expected.h5", "merged.h5"}


def test_a_merge_takes_no_memory_for_rows(tmp_path: Path) -> None:
    for k in (0, 1):
        for i in range(200):
            write(tmp_path / str(k) / CLASSES[i % 3] / f"{k}-{i}.wav", i)
        made(tmp_path / str(k), tmp_path / f"{k}.h5")
    code = """
import resource, sys
from cache import merge
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
one, two, folder = sys.argv[1:]
merge([one, one], folder + "/a.h5")
before = peak()
merge([one, two], folder + "/b.h5", data=folder)
print(peak() - before)
"""
    arguments = [str(tmp_path / "0.h5"), str(tmp_path / "1.h5"), str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    # In kilobytes; the rows are 26 MB.
    assert int(done.stdout) * (1 if sys.platform == "linux" else 1 / 1024) < 6000
