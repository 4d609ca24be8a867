"""Caches in which a clip has several rows, each of which shows one window of it."""

import numpy as np
import pytest

from cache import open_cache
from cache.shared.errors import DamagedCache
from cache.shared.segment import Crop
from tests.helpers.caches import in_windows, rewritten

N_WINDOWS = [3, 1, 2]


@pytest.fixture(scope="module")
def whole(tones_cache, tmp_path_factory):
    """A cache of three clips, each a row."""
    file = tmp_path_factory.mktemp("whole") / "f.h5"
    return open_cache(rewritten(open_cache(tones_cache), file, np.array([0, 20, 40]), {}))


def test_rows_know_their_clips_and_clips_their_rows(whole, tmp_path):
    cache = open_cache(in_windows(whole, tmp_path / "f.h5", N_WINDOWS))
    assert cache.clips.dtype == np.intp
    assert cache.clips.tolist() == [0, 0, 0, 1, 2, 2]
    assert cache.first_rows.tolist() == [0, 3, 4]
    assert (cache.n_clips, cache.clip_paths) == (3, whole.paths)
    assert cache.paths[:2] == [f"{whole.paths[0]}#0.000000-1.000000", f"{whole.paths[0]}#0.500000-1.500000"]
    assert cache.paths[3] == whole.paths[1]
    assert cache.n_clips_per_class == {"dog": 1, "cat": 1, "bird": 1}
    assert cache.n_per_class == {"dog": 3, "cat": 1, "bird": 2}
    assert cache.clip_durations.tolist() == [2.0, 0.5, 1.5]
    assert cache.header.cropping == Crop("segments", 0.5, 1)
    assert "6 rows of 3 clips" in repr(cache)


def test_where_each_clip_is_a_row_the_clips_are_the_rows(whole):
    assert whole.clips.tolist() == [0, 1, 2]
    assert whole.clip_paths == whole.paths
    assert whole.clip_durations.tolist() == whole.columns["duration"].tolist()
    assert whole.header.cropping == Crop()


def test_what_is_counted_are_clips(whole, tmp_path):
    same = np.full(6, whole.columns["sha256"][0])
    remark = np.array([b"cut short", b"", b"", b"", b"", b""])
    cache = open_cache(in_windows(whole, tmp_path / "f.h5", N_WINDOWS, sha256=same, remark=remark))
    assert cache.conflicts == [whole.paths]
    assert (cache.duplicates, cache.n_duplicates) == ([], 0)
    assert cache.remarks == [(whole.paths[0], "cut short")]
    assert cache.n_cut_short == 1
    longer = np.array([9.0, 9.0, 9.0, 0.0, 4.096, 4.096])
    assert open_cache(in_windows(whole, tmp_path / "f.h5", N_WINDOWS, clip_duration=longer)).n_longer == 1


def test_two_clips_may_have_a_window_in_common(whole, tmp_path):
    """Labels that overlap: both segments are clips of the same recording."""
    rows = {
        "path": [b"n.wav#1.000000-2.000000", b"n.wav#1.500000-2.500000"] * 2,
        "clip": [b"n.wav#1.000000-2.500000"] * 2 + [b"n.wav#1.000000-2.600000"] * 2,
        "start": [1, 1.5, 1, 1.5],
        "end": [2, 2.5, 2, 2.5],
    }
    columns = {name: np.array(values, None if name in ("path", "clip") else "<f8") for name, values in rows.items()}
    file = rewritten(whole, tmp_path / "f.h5", np.array([0, 0, 1, 1]), columns | {"clip_duration": np.full(4, 1.5)})
    assert open_cache(file).clips.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("column", "row", "value", "fault"),
    [
        ("path", 1, b"dog/other.wav#0.500000-1.500000", "another file"),
        ("path", 1, b"../secret.wav#0.500000-1.500000", "another file"),
        ("path", 1, None, "agree"),
        ("clip", 1, b"", "agree"),
        ("clip", 3, b"cat/other.wav", "agree"),
        ("clip_duration", 1, 3.0, "agree"),
        ("clip_duration", 3, 3.0, "agree"),
        ("clip_duration", 0, float("nan"), "clip_duration"),
        ("sha256", 1, b"0" * 64, "agree"),
        ("corrected", 1, 2, "folder of its class"),
        ("y", 1, [0, 1, 0], "folder of its class"),
    ],
)
def test_a_window_that_does_not_agree_with_its_clip_is_refused(whole, tmp_path, column, row, value, fault):
    cache = open_cache(in_windows(whole, tmp_path / "good.h5", N_WINDOWS))
    forged = (cache.y if column == "y" else cache.columns[column]).copy()
    if column == "path":
        forged = forged.astype("S200")
    if value is None:
        forged[row] = forged[row - 1]
        times = {name: cache.columns[name].copy() for name in ("start", "end")}
        for name in times:
            times[name][row] = times[name][row - 1]
    else:
        forged[row], times = value, {}
    file = rewritten(cache, tmp_path / "bad.h5", np.arange(6), {column: forged} | times)
    with pytest.raises(DamagedCache, match=fault):
        open_cache(file)


def test_rows_of_a_clip_that_are_apart_are_refused(whole, tmp_path):
    cache = open_cache(in_windows(whole, tmp_path / "good.h5", N_WINDOWS))
    with pytest.raises(DamagedCache, match="twice"):
        open_cache(rewritten(cache, tmp_path / "bad.h5", np.array([0, 1, 3, 2, 4, 5]), {}))


@pytest.mark.parametrize(
    ("name", "value"),
    [("crop", "all"), ("crop", ""), ("overlap", 1.0), ("overlap", -0.1), ("n_windows", 0), ("overlap", float("nan"))],
)
def test_a_crop_that_makes_no_sense_is_refused(whole, tmp_path, name, value):
    with pytest.raises(DamagedCache, match=f"{name!r} makes no sense"):
        open_cache(rewritten(whole, tmp_path / "bad.h5", np.arange(3), {}, **{name: value}))
