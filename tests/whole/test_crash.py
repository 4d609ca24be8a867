"""A run that is killed, interrupted or refused anywhere leaves a whole cache, and the next one takes up its work."""

import json
import random
import signal
import time
import zlib
from pathlib import Path

import pytest

from cache import open_cache
from cache.file.container import ALIGNMENT
from cache.look.info import check_rows
from featurize import build
from featurize.update.summary import as_json
from tests.helpers.amounts import amount
from tests.helpers.caches import assert_same
from tests.helpers.commands import start
from tests.helpers.faults import WRITING, forked_runs
from tests.helpers.tones import write_tiny_clips

N_PER_CLASS = 8
N_OLD_PER_CLASS = 3
ROW_BYTES = 128 * 128 * 4
ALL = ("--jobs", 1, "--max-per-class", 0)  # the limit that the earlier cache was asked for is lifted


@pytest.fixture(scope="module")
def run():
    if not Path("/proc/self/fd").exists():
        pytest.skip("the names of open files are read from Linux's /proc")
    with forked_runs() as run:
        yield run


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """24 clips of a twentieth of a second."""
    return write_tiny_clips(tmp_path_factory.mktemp("crash") / "data", N_PER_CLASS)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """The cache of a run that nothing disturbed."""
    return build(data, tmp_path_factory.mktemp("whole") / "features.h5").cache


@pytest.fixture(scope="module")
def earlier(data, tmp_path_factory):
    """The bytes of a cache of the first clips of each class."""
    file = tmp_path_factory.mktemp("earlier") / "features.h5"
    build(data, file, max_per_class=N_OLD_PER_CLASS)
    return file.read_bytes()


@pytest.fixture(params=["fresh", "update"])
def cache_file(request, tmp_path, earlier):
    """A place for the cache: nothing there yet, so that rows are published where they lie, or rows that are copied."""
    file = tmp_path / "features.h5"
    if request.param == "update":
        file.write_bytes(earlier)
    return file


def finished_clips(cache_file):
    """Paths whose rows the journal vouches for and the rows file holds, by this test's own reading of both."""
    rows_file = cache_file.with_name("features.h5.partial")
    journal = cache_file.with_name("features.h5.partial.journal")
    if not (rows_file.exists() and journal.exists()):
        return set()
    rows, paths = rows_file.read_bytes(), set()
    for line in journal.read_bytes().split(b"\n")[1:-1]:
        entry = json.loads(line[9:])
        start = ALIGNMENT + entry["slot"] * ROW_BYTES
        if zlib.crc32(rows[start : start + ROW_BYTES]) == entry["crc32"]:
            paths.add(entry["path"])
    return paths


def assert_published_whole(cache_file, earlier, whole):
    """Under the cache's name lies the old file to the byte, the new one, or nothing if there was none."""
    if not cache_file.exists():
        return set()
    cache = open_cache(cache_file)
    if cache_file.read_bytes() != earlier:
        assert_same(cache, whole)
    assert check_rows(cache) == len(cache)
    return set(cache.paths)


def assert_resumes(data, cache_file, whole, finished):
    """The next run computes what is not finished and nothing else, and leaves what an undisturbed run leaves."""
    result = as_json(build(data, cache_file, max_per_class=0))
    assert result["n_reused"] == len(finished)
    assert result["n_computed"] == len(whole) - len(finished)
    assert_same(open_cache(cache_file), whole)
    assert litter(cache_file) <= {"features.h5.lock"}  # of a holder that was killed; it locks nobody out


def litter(cache_file):
    return {file.name for file in cache_file.parent.iterdir()} - {"features.h5"}


@pytest.fixture(scope="module")
def calls(run, data, earlier, tmp_path_factory):
    """The changing calls of an undisturbed run, by whether there was an earlier cache."""
    calls = {}
    for was_there in (False, True):
        file = tmp_path_factory.mktemp("calls") / "features.h5"
        put_back(file, earlier, was_there)
        calls[was_there] = run(data, "--cache", file, *ALL).calls
    return calls


# Which of the first and last calls of each kind have this fault: every other one, and all of them under `make fuzz`.
TURN = {"ENOSPC": 0, "EIO": 1, "interrupt": 0}


def some_of(calls, n_wanted, how):
    """Numbers of calls to break: the first and last of each kind, and up to n_wanted others at random.

    Faults in the middle of a run come only where bytes are written.
    """
    if "half-" in how or how == "kill-half":
        writes = [number for number, call in enumerate(calls, 1) if call.split()[0] in WRITING]
        return sorted(
            {*(n for n in some_of(calls, 0, "") if n in writes), *random.Random(how).sample(writes, n_wanted)}
        )
    ends = {calls.index(call) + 1 for call in calls} | {len(calls) - calls[::-1].index(call) for call in calls}
    others = sorted(set(range(1, len(calls) + 1)) - ends)
    turn = sorted(ends)[amount(TURN[how], 0) :: amount(2, 1)] if how in TURN else ends
    return sorted({*turn, *random.Random(how).sample(others, n_wanted)})


def put_back(cache_file, earlier, was_there):
    cache_file.unlink(missing_ok=True)
    if was_there:
        cache_file.write_bytes(earlier)


@pytest.mark.parametrize("how", ["kill", "kill-half"])
def test_a_run_killed_at_any_write_leaves_a_whole_cache_and_is_resumed(
    run, calls, data, cache_file, earlier, whole, how
):
    was_there = cache_file.exists()
    for number in some_of(calls[was_there], amount(2, 10), how):
        put_back(cache_file, earlier, was_there)
        broken = run(data, "--cache", cache_file, *ALL, number=number, how=how)
        assert broken.code == -signal.SIGKILL, broken
        finished = assert_published_whole(cache_file, earlier, whole) | finished_clips(cache_file)
        # All but the batch in flight: every batch whose lines were written is there.
        n_batches = sum(call.startswith("write features.h5.partial.journal") for call in broken.calls[:-1]) - 1
        assert len(finished) >= min(len(whole), n_batches * 5), broken
        assert_resumes(data, cache_file, whole, finished)


@pytest.mark.parametrize("how", ["ENOSPC", "EIO", "half-EDQUOT"])
def test_a_write_that_fails_is_one_line_and_costs_nothing_that_was_finished(
    run, calls, data, cache_file, earlier, whole, how
):
    was_there = cache_file.exists()
    for number in some_of(calls[was_there], amount(1, 3), how):
        put_back(cache_file, earlier, was_there)
        broken = run(data, "--cache", cache_file, *ALL, number=number, how=how)
        lock = {"features.h5.lock"} if broken.calls[number - 1].endswith(".lock") else set()
        if lock:
            assert broken.code in (0, 1), broken  # who holds the lock is only written there for people
        else:
            assert broken.code == 1, broken
            assert len(broken.complaints) == 1, broken
            assert str(cache_file) in broken.complaints[0]
        finished = assert_published_whole(cache_file, earlier, whole) | finished_clips(cache_file)
        assert litter(cache_file) <= {"features.h5.partial", "features.h5.partial.journal"} | lock, broken
        assert_resumes(data, cache_file, whole, finished)


def test_an_interrupt_at_any_write_is_one_line_and_keeps_what_was_finished(
    run, calls, data, cache_file, earlier, whole
):
    was_there = cache_file.exists()
    for number in some_of(calls[was_there], amount(1, 3), "interrupt"):
        put_back(cache_file, earlier, was_there)
        how = ("SIGINT", "SIGTERM")[number % 2]
        broken = run(data, "--cache", cache_file, *ALL, number=number, how=how)
        assert broken.code == 128 + getattr(signal, how), broken
        assert len(broken.complaints) == 1, broken
        assert "interrupted; " in broken.complaints[0]
        assert "kept; run the same command again to go on" in broken.complaints[0]
        finished = assert_published_whole(cache_file, earlier, whole) | finished_clips(cache_file)
        if "24 clips are finished" in broken.complaints[0]:
            assert f"{len(finished)} of 24 clips" in broken.complaints[0]
        assert_resumes(data, cache_file, whole, finished)


# How many clips to wait for, so that all phases are met on a slow machine too; at 15 or 24 the publishing is next. -1:
# a process of its own, killed while it starts.
PHASES = (-1, 0, 0, 5, 10, 15, 15, 20, 24, 24)


def test_runs_killed_at_random_moments_lose_nothing(run, data, tmp_path, earlier, whole):
    rng, n_runs = random.Random(0), amount(20, 60)
    moments = [(PHASES[number // 2 % len(PHASES)], rng.uniform(0, 0.03)) for number in range(n_runs)]
    killed = []
    for number, (n_clips, seconds) in enumerate(moments):
        cache_file = tmp_path / str(number) / "features.h5"
        cache_file.parent.mkdir()
        put_back(cache_file, earlier, number % 2)
        options = ("--cache", cache_file, "--max-per-class", 0, "--jobs", 2)
        if n_clips < 0:
            with start(data, *options) as process:
                time.sleep(10 * seconds)
                process.kill()
        else:
            run(data, *options, number=n_clips + 1, how=f"kill after {seconds}")
        killed.append((cache_file, assert_published_whole(cache_file, earlier, whole) | finished_clips(cache_file)))
    n_finished = {len(finished) for _, finished in killed}
    assert {0, len(whole)} < n_finished, n_finished  # they did die in different phases
    # Only now: a worker that was just being started holds the lock until it sees that its run has gone.
    for cache_file, finished in killed:
        assert_resumes(data, cache_file, whole, finished)
