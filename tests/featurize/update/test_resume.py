"""The rows of an interrupted run are used if they are whole and wanted, else set aside, and never believed."""

import errno
import json
import multiprocessing
import os
import random
import shutil
import zlib

import h5py
import numpy as np
import pytest

from cache import open_cache
from cache.file import journal, publish
from cache.file.container import ALIGNMENT
from cache.shared.errors import CacheError, UserError
from cache.shared.text import human_size
from featurize import build
from featurize.update import compute
from tests.helpers.caches import assert_same
from tests.helpers.tones import write_tiny_clips

N_PER_CLASS = 4
N_CLIPS = 3 * N_PER_CLASS
ROW_BYTES = 128 * 128 * 4


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_tiny_clips(tmp_path_factory.mktemp("resume") / "data", N_PER_CLASS)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """The cache of a run that nothing disturbed."""
    return build(data, tmp_path_factory.mktemp("whole") / "features.h5").cache


@pytest.fixture
def cache_file(tmp_path):
    return tmp_path / "out" / "features.h5"


@pytest.fixture
def unpublished(data, cache_file, monkeypatch):
    """All rows finished, none published: returns the rows file and the journal."""
    return leave_unpublished(data, cache_file, monkeypatch)


def leave_unpublished(data, cache_file, monkeypatch, **options):
    cache_file.parent.mkdir(exist_ok=True)
    with monkeypatch.context() as patched:
        patched.setattr(compute, "publish", full_disk)
        with pytest.raises(UserError, match="No space left on device"):
            build(data, cache_file, **options)
    return journal.journal_paths(cache_file)


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def names(cache_file):
    return sorted(file.name for file in cache_file.parent.iterdir())


def test_rows_that_were_finished_are_published_without_computing(data, cache_file, whole, unpublished):
    result = build(data, cache_file)
    assert (result.n_computed, result.n_reused) == (0, N_CLIPS)
    assert_same(result.cache, whole)
    assert names(cache_file) == ["features.h5"]


def zero_a_block(data, rng):
    start = rng.randrange(0, len(data), 4096)
    return data[:start] + bytes(len(data[start : start + 4096])) + data[start + 4096 :]


def cut(data, rng):
    return data[: rng.randrange(len(data))]


def flip_a_bit(data, rng):
    i = rng.randrange(len(data))
    return data[:i] + bytes([data[i] ^ 1 << rng.randrange(8)]) + data[i + 1 :]


def put_in_an_old_block(data, rng):
    to, source = (rng.randrange(0, len(data), 512) for _ in range(2))
    return data[:to] + data[source : source + 512] + data[to + 512 :]


def believable(rows, journal, head):
    """Paths that can still be used, by this test's own reading: a whole line, and the row that it describes."""
    if not journal.startswith(head):
        return set()
    found = set()
    for line in journal.split(b"\n")[1:-1]:
        if line[:8] == b"%08x" % zlib.crc32(line[9:]):
            path, slot, crc32 = (json.loads(line[9:])[name] for name in ("path", "slot", "crc32"))
            start = ALIGNMENT + slot * ROW_BYTES
            if zlib.crc32(rows[start : start + ROW_BYTES]) == crc32:
                found.add(path)
    return found


@pytest.mark.parametrize("damage", [zero_a_block, cut, flip_a_bit, put_in_an_old_block])
@pytest.mark.parametrize("which", [0, 1], ids=["rows", "journal"])
def test_what_a_power_cut_leaves_is_used_as_far_as_it_is_whole(data, cache_file, whole, unpublished, which, damage):
    kept = [file.read_bytes() for file in unpublished]
    head = kept[1].split(b"\n")[0] + b"\n"
    for seed in range(6):
        shutil.rmtree(cache_file.parent)
        cache_file.parent.mkdir()
        left = [*kept[:which], damage(kept[which], random.Random(seed)), *kept[which + 1 :]]
        for file, content in zip(unpublished, left, strict=True):
            file.write_bytes(content)
        # A journal whose first line is damaged may be set aside, with a line, as one of other settings.
        result = build(data, cache_file, notify=lambda line: None)
        assert result.n_reused == len(believable(*left, head)), seed
        assert_same(result.cache, whole)


def test_rows_of_other_settings_are_set_aside_and_come_back_with_their_settings(
    data, cache_file, whole, unpublished, monkeypatch
):
    said = []
    leave_unpublished(data, cache_file, monkeypatch, dtype="float16", notify=said.append)
    assert [line for line in said if "of other settings are set aside in" in line]
    assert len(names(cache_file)) == 4
    with pytest.warns(UserWarning, match="of other settings are set aside in"):
        result = build(data, cache_file)
    assert (result.n_computed, result.n_reused) == (0, N_CLIPS)
    assert_same(result.cache, whole)


def test_rows_that_were_finished_serve_another_list_of_classes(data, cache_file, unpublished):
    said = []
    result = build(data, cache_file, ["bird", "dog"], notify=said.append)
    assert (result.n_computed, result.n_reused) == (0, 2 * N_PER_CLASS)
    assert not [line for line in said if "set aside" in line]


@pytest.mark.parametrize("moved", [0, 1], ids=["rows", "journal"])
def test_a_kill_while_setting_rows_aside_loses_none(data, cache_file, whole, unpublished, moved):
    head = unpublished[1].read_bytes().split(b"\n")[0]
    aside = unpublished[0].with_name(f"features.h5.partial-{zlib.crc32(head):08x}")
    unpublished[moved].replace((aside, aside.with_name(aside.name + ".journal"))[moved])
    result = build(data, cache_file)
    assert result.n_reused == N_CLIPS
    assert_same(result.cache, whole)
    assert names(cache_file) == ["features.h5"]


def test_rows_of_an_older_version_are_set_aside_with_a_line(data, cache_file, whole, unpublished):
    journal = unpublished[1]
    journal.write_bytes(journal.read_bytes().replace(b'"partial_version": 1', b'"partial_version": 0'))
    said = []
    result = build(data, cache_file, notify=said.append)
    assert result.n_computed == N_CLIPS
    assert len([line for line in said if "set aside" in line]) == 1
    assert_same(result.cache, whole)
    assert len(names(cache_file)) == 3


@pytest.mark.parametrize("content", [b"", b'{"class_names": ["do'])
def test_a_journal_that_was_killed_before_its_first_line_says_nothing(data, cache_file, whole, unpublished, content):
    unpublished[1].write_bytes(content)
    said = []
    result = build(data, cache_file, notify=said.append)
    assert not [line for line in said if "set aside" in line]
    assert_same(result.cache, whole)
    assert names(cache_file) == ["features.h5"]


def test_what_lies_beside_the_cache_leads_the_writing_nowhere_else(data, cache_file, tmp_path):
    cache_file.parent.mkdir()
    precious = tmp_path / "precious"
    precious.write_text("precious")
    cache_file.with_name("features.h5.partial").symlink_to(precious)
    with pytest.raises(UserError, match="cannot be written"):
        build(data, cache_file)
    assert precious.read_text() == "precious"


def test_rows_in_order_need_no_room_for_a_copy(data, cache_file, unpublished, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    assert build(data, cache_file).n_reused == N_CLIPS


def test_too_small_a_disk_is_said_before_anything_is_computed(data, cache_file, monkeypatch):
    cache_file.parent.mkdir()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(UserError, match=r"has 1.0 kB free and the cache needs 786.4 kB; make room"):
        build(data, cache_file)
    assert names(cache_file) == []


def test_a_damaged_cache_is_set_aside_and_so_is_the_next(data, cache_file, whole):
    cache_file.parent.mkdir()
    build(data, cache_file)
    for n_damaged in (1, 2):
        damaged = cache_file.read_bytes()[: 200_000 + n_damaged]
        cache_file.write_bytes(damaged)
        said = []
        assert_same(build(data, cache_file, notify=said.append).cache, whole)
        aside = cache_file.with_name("features.h5.damaged" + ("-2" if n_damaged == 2 else ""))
        assert aside.read_bytes() == damaged
        assert f"the damaged cache is kept as {aside}" in said


def test_a_file_that_is_no_cache_is_never_overwritten(data, cache_file):
    cache_file.parent.mkdir()
    with h5py.File(cache_file, "w") as h5:
        h5["weights"] = np.arange(10)
    for content in (cache_file.read_bytes(), b"my thesis", b"RIFF"):
        cache_file.write_bytes(content)
        with pytest.raises(CacheError, match="not"):
            build(data, cache_file)
        assert cache_file.read_bytes() == content
        assert names(cache_file) == ["features.h5"]


@pytest.mark.parametrize("place", ["folder", "pipe", "nowhere/features.h5", "file/features.h5"])
def test_a_place_where_no_cache_can_be_is_refused_in_a_line(data, tmp_path, place):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="is not a f") as refusal:
        build(data, tmp_path / place)
    assert "\n" not in str(refusal.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_data_that_is_not_there_is_said_before_anything_is_made(cache_file):
    cache_file.parent.mkdir()
    with pytest.raises(UserError, match="nowhere is not a folder; give the folder that holds"):
        build(cache_file.parent / "nowhere", cache_file)
    assert names(cache_file) == []


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written_is_said_in_a_line(data, cache_file, monkeypatch, code):
    cache_file.parent.mkdir()
    really = os.open

    def refuse(path, flags, *rest, **options):
        if flags & os.O_CREAT and str(path).startswith(str(cache_file.parent)):
            raise OSError(code, os.strerror(code), str(path))
        return really(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(UserError, match="choose another place with --cache"):
        build(data, cache_file)
    assert names(cache_file) == []


def test_a_failure_of_the_sync_behind_the_work_is_an_error(data, cache_file, whole, monkeypatch):
    def broken(file):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    cache_file.parent.mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(compute, "fdatasync", broken)
        patched.setattr(compute, "SYNC_BYTES", 1)
        with pytest.raises(UserError, match="Input/output error"):
            build(data, cache_file)
    assert not cache_file.exists()
    result = build(data, cache_file)
    assert result.n_reused > 0
    assert_same(result.cache, whole)


def test_workers_that_cannot_be_started_are_not_blamed_on_the_cache(data, cache_file, monkeypatch):
    cache_file.parent.mkdir()
    monkeypatch.setattr(multiprocessing, "RawArray", full_disk)
    with pytest.raises(UserError, match=r"no worker can be started \(No space left on device\); use fewer with --jobs"):
        build(data, cache_file, n_jobs=2)
    assert names(cache_file) == []


def says_zero(*_):
    return 0


def says_no(*_):
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


@pytest.mark.parametrize("copy", [says_zero, says_no, None])
def test_rows_are_copied_where_the_kernel_cannot_do_it(data, cache_file, whole, monkeypatch, copy):
    cache_file.parent.mkdir()
    build(data, cache_file, max_per_class=2)
    if copy is None:
        monkeypatch.delattr(os, "copy_file_range")
    else:
        monkeypatch.setattr(os, "copy_file_range", copy)
    monkeypatch.setattr(publish, "COPY_BYTES", 50_000)
    assert_same(build(data, cache_file, max_per_class=0).cache, whole)


def test_rows_that_stay_are_shared_where_the_file_system_can_and_their_copy_is_announced_where_not(
    data, cache_file, monkeypatch
):
    whole = build(data, cache_file.parent.parent / "whole.h5").cache
    row_bytes = whole.X.nbytes // len(whole)
    monkeypatch.setattr(publish, "COPY_BYTES", row_bytes)

    def share(origin, target, origin_offset, target_offset, n_bytes):
        # A file system shares whole blocks only.
        assert origin_offset % 4096 == target_offset % 4096 == n_bytes % 4096 == 0
        shared.append(n_bytes)
        os.pwrite(target, os.pread(origin, n_bytes, origin_offset), target_offset)
        return True

    for can, expected in ((share, []), (lambda *_: False, [f"copying {human_size(len(whole) * row_bytes)} of rows"])):
        said, shared = [], []
        cache_file.unlink(missing_ok=True)
        cache_file.parent.mkdir(exist_ok=True)
        build(data, cache_file, max_per_class=2)
        monkeypatch.setattr(publish, "share_blocks", can)
        assert_same(build(data, cache_file, max_per_class=0, notify=said.append).cache, whole)
        assert [line.split(", which")[0] for line in said if line.startswith("copying")] == expected
        assert sum(shared) == (0 if expected else len(whole) * row_bytes)


def test_a_cache_that_another_program_replaced_meanwhile_lends_no_rows(data, cache_file, monkeypatch):
    cache_file.parent.mkdir()
    build(data, cache_file, max_per_class=2)
    other = cache_file.with_name("other.h5")
    build(data, other, max_per_class=3)
    publish = compute.publish

    def replaced_meanwhile(*arguments):
        os.replace(other, cache_file)  # noqa: PTH105
        return publish(*arguments)

    monkeypatch.setattr(compute, "publish", replaced_meanwhile)
    with pytest.raises(UserError, match="was replaced by another program meanwhile; run it again"):
        build(data, cache_file, max_per_class=0)
    monkeypatch.undo()
    assert len(open_cache(cache_file)) == 9
    assert build(data, cache_file, max_per_class=0).n_computed == 0
