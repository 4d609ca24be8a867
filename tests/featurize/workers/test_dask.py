"""Real Dask processes compute what this machine would, and what goes wrong with them costs no finished row."""

import json
import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
import soundfile

from cache import open_cache
from cache.file.columns import ROW_SHAPE
from cache.file.container import ALIGNMENT
from cache.file.settings import MelSettings
from cache.shared.cluster import connected, needs_of
from cache.shared.errors import UserError
from featurize import build
from featurize.workers.batch import Task, featurize_batch
from featurize.workers.dask import cluster_workers
from featurize.workers.rows import Room
from tests import ROOT
from tests.helpers.clips import find_clips
from tests.helpers.commands import complaints, start, wait_for_rows
from tests.helpers.dask_processes import DaskProcesses, changing
from tests.helpers.forks import fork
from tests.helpers.sounds import noise
from tests.helpers.tones import write_clips

distributed = pytest.importorskip("distributed", reason="the extra `cluster` is not installed")

# The function that opens a clip, and a slow one in its place that writes down every clip.
OPEN = "featurize.workers.batch.open_audio"
SLOW = """
import os, time
def new(path, *rest):
    time.sleep({delay})
    with open({log!r}, "a") as log:
        print(os.getpid(), "/".join(path.split("/")[-2:]), file=log)
    {how}
    return was(path, *rest)
"""


@pytest.fixture(scope="module")
def dask(tmp_path_factory):
    """A scheduler whose workers are those of one test."""
    processes = DaskProcesses(tmp_path_factory.mktemp("dask"))
    yield processes
    processes.stop()


@pytest.fixture
def workers(dask):
    """Adds workers to that scheduler, for one test."""
    yield dask.add_worker
    dask.stop_workers()


@pytest.fixture(scope="module")
def standing(tmp_path_factory):
    """A scheduler with two workers, which no test leaves otherwise than it found them."""
    processes = DaskProcesses(tmp_path_factory.mktemp("standing"))
    processes.add_worker()
    processes.add_worker()
    yield processes
    processes.stop()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """120 clips and one that is none; treat it as read-only."""
    return with_a_broken_one(write_clips(tmp_path_factory.mktemp("cluster") / "data", seed=3, n_speakers=20))


def with_a_broken_one(data):
    (data / "cat" / "broken.wav").write_bytes(b"RIFF no audio")
    return data


@pytest.fixture(scope="module")
def expected(data):
    """The cache that this machine makes of the clips."""
    return build(data, data.parent / "expected.h5").cache


def slow(folder, how="pass", delay=0.05):
    return SLOW.format(log=str(folder / "log"), how=how, delay=delay)


def held(folder):
    """As `slow`, but go on after the first batches only once `folder` has a file called "go"."""
    log, go = str(folder / "log"), str(folder / "go")
    return slow(folder, f"while len(list(open({log!r}))) > 40 and not os.path.exists({go!r}): time.sleep(0.01)")


def clips_by_process(folder):
    done = {}
    for line in (folder / "log").read_text().splitlines() if (folder / "log").exists() else []:
        process, path = line.split()
        done.setdefault(int(process), []).append(path)
    return done


def run(data, scheduler, cache_file, *arguments, **options):
    return fork(data, "--cache", cache_file, "--scheduler", scheduler, *arguments, **options)


def rows_in_file(cache):
    """The bytes of X as they lie in the file."""
    with cache.file.open("rb") as file:
        file.seek(ALIGNMENT)
        return file.read(cache.X.nbytes)


def assert_same(cache_file, expected, without=()):
    cache = open_cache(cache_file)
    kept = [path not in without for path in expected.paths]
    assert cache.paths == [path for path in expected.paths if path not in without]
    for name, column in expected.columns.items():
        assert np.array_equal(cache.columns[name], column[kept]), name
    assert rows_in_file(cache) == expected.X[kept].tobytes()
    if not without:
        assert cache.fingerprint == expected.fingerprint


def test_every_executor_gives_the_same_bytes(standing, data):
    settings = MelSettings()
    batch = [Task(clip, "") for clip in find_clips(data).clips[30:50]]
    expected = featurize_batch(str(data), batch, settings, Room(np.empty((len(batch), *ROW_SHAPE), np.float32)))
    with distributed.Client(standing.address, set_as_default=False) as client:
        for executor in (ThreadPoolExecutor(2), ProcessPoolExecutor(1), client.get_executor(pure=False)):
            with executor:
                room = Room(np.empty((len(batch), *ROW_SHAPE), np.float32))
                done = executor.submit(featurize_batch, str(data), batch, settings, room).result()
            assert done.X.tobytes() == expected.X.tobytes()
            assert done[:1] + done[2:] == expected[:1] + expected[2:]


def test_a_cluster_cuts_long_clips_as_one_machine_does(standing, tmp_path):
    for i in range(3):
        (tmp_path / f"data/{i}").mkdir(parents=True)
        soundfile.write(tmp_path / f"data/{i}/a.wav", np.random.default_rng(i).normal(0, 0.1, 250_000), 250_000)
    how = {"classes": "all", "settings": "bats", "crop": "segments", "overlap": 0.9, "notify": lambda _: None}
    expected = build(tmp_path / "data", tmp_path / "expected.h5", **how).cache
    found = build(tmp_path / "data", tmp_path / "f.h5", scheduler=standing.address, **how).cache
    assert (found.n_clips, found.clips.tolist()) == (3, expected.clips.tolist())
    assert_same(tmp_path / "f.h5", expected)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_cluster_makes_the_same_cache_to_the_bit(standing, data, tmp_path, dtype):
    expected = build(data, tmp_path / "expected.h5", dtype=dtype).cache
    scheduler = standing.file if dtype == "float16" else standing.address
    # Relative, as most people type it; the workers have a working directory of their own.
    folder = os.path.relpath(data)
    with run(folder, scheduler, tmp_path / "f.h5", "--json", "--dtype", dtype, "--dashboard") as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    (line,) = complaints(err)
    assert line.startswith("dashboard: http://127.0.0.1:")
    assert json.loads(out)["n_computed"] == 120
    assert [bad["path"] for bad in json.loads(out)["rejected"]] == ["cat/broken.wav"]
    assert_same(tmp_path / "f.h5", expected)


def test_a_worker_that_joins_gets_work_and_one_that_is_killed_is_done_without(dask, workers, data, expected, tmp_path):
    first = workers(changing(OPEN, held(tmp_path)))
    with run(data, dask.address, tmp_path / "features.h5") as process:
        wait_for_rows(tmp_path, process, 1)
        second = workers(changing(OPEN, slow(tmp_path)))
        (tmp_path / "go").touch()
        while len(clips_by_process(tmp_path).get(second.pid, [])) < 3:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        first.kill()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert complaints(err) == []
    assert_same(tmp_path / "features.h5", expected)


def test_a_clip_that_kills_every_worker_is_rejected_by_name_and_the_rest_go_on(dask, workers, tmp_path):
    # Few, because a worker is started again for every half, quarter .. of the batch until the clip is alone.
    data = with_a_broken_one(write_clips(tmp_path / "data", seed=3, n_speakers=4))
    expected = build(data, tmp_path / "expected.h5").cache
    killer = expected.paths[20]
    for _ in range(2):
        workers(changing(OPEN, slow(tmp_path, f"path.endswith({killer!r}) and os._exit(1)", 0)), "--nanny")
    with run(data, dask.address, tmp_path / "features.h5", "--json") as process:
        out, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    # While both nannies start their worker again, the cluster has none.
    assert [line for line in complaints(err) if "has no workers; waiting for one" not in line] == []
    reasons = {bad["path"]: bad["reason"] for bad in json.loads(out)["rejected"]}
    assert reasons.keys() == {"cat/broken.wav", killer}
    assert "the worker that computes it dies of it" in reasons[killer]
    assert sorted(open_cache(tmp_path / "features.h5").paths) == sorted(set(expected.paths) - {killer})
    assert build(data, tmp_path / "features.h5").n_computed == 1
    assert_same(tmp_path / "features.h5", expected)


@pytest.mark.parametrize(
    "how", ["its worker dies after it was fetched", "lost, it is computed again, and its worker dies"]
)
def test_a_worker_that_dies_on_the_heels_of_a_result_leaves_no_future_without_an_end(standing, monkeypatch, how):
    with connected(standing.address, needs_of(dict), print, dashboard=False) as cluster:
        fetch = cluster.client._gather

        async def fetch_and_lose(futures, **options):
            results = await fetch(futures, **options)
            if "again" in how:
                raise distributed.KilledWorker("task", None, 1)
            for future in futures if isinstance(futures, list) else [futures]:
                future._state.lose()
            return results

        monkeypatch.setattr(cluster.client, "_gather", fetch_and_lose)
        future = cluster.executor().submit(divmod, 7, 2)
        if "again" in how:
            assert isinstance(future.exception(timeout=30), distributed.KilledWorker)
        else:
            assert future.result(timeout=30) == (3, 1)


def test_when_the_scheduler_is_lost_every_finished_row_is_kept(data, expected, tmp_path):
    dask = DaskProcesses(tmp_path)
    try:
        dask.add_worker(changing(OPEN, slow(tmp_path)))
        with run(data, dask.address, tmp_path / "features.h5") as process:
            wait_for_rows(tmp_path, process, 1)
            dask.scheduler.kill()
            _, err = process.communicate(timeout=60)
    finally:
        dask.stop()
    assert process.returncode == 1
    (line,) = complaints(err)
    assert f"the scheduler at {dask.address} has gone" in line
    assert "finished clips are kept" in line
    n_kept = (tmp_path / "features.h5.partial.journal").read_bytes().count(b"\n") - 1
    result = build(data, tmp_path / "features.h5")
    assert 0 < result.n_reused == n_kept < 120
    assert_same(tmp_path / "features.h5", expected)


def test_a_scheduler_that_is_lost_between_two_batches_is_said_with_what_is_kept(data, tmp_path):
    dask = DaskProcesses(tmp_path)
    try:
        dask.add_worker()
        with cluster_workers(dask.address, [data], 1, "float32", print, False) as pool:
            dask.scheduler.kill()
            with pytest.raises(UserError, match=r"has gone.*; finished clips are kept"):
                count_for_a_minute(pool)
    finally:
        dask.stop()


def count_for_a_minute(pool):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        pool.n_workers()
        time.sleep(0.1)


def test_an_interrupt_keeps_finished_rows_and_leaves_nothing_to_do_on_the_cluster(standing, data, expected, tmp_path):
    with (
        standing.changed(OPEN, slow(tmp_path)),
        run(data, standing.address, tmp_path / "features.h5") as process,
    ):
        wait_for_rows(tmp_path, process, 1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    (line,) = complaints(err)
    assert "of 121 clips are finished and kept; run the same command again to go on" in line
    with distributed.Client(standing.address, set_as_default=False) as client:
        deadline = time.monotonic() + 60
        while client.run_on_scheduler(n_tasks):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert build(data, tmp_path / "features.h5").n_reused > 0
    assert_same(tmp_path / "features.h5", expected)


def n_tasks(dask_scheduler):
    return len(dask_scheduler.tasks)


BLIND = """
def new(path="."):
    if str(path) == {folder!r}:
        raise FileNotFoundError(2, "No such file or directory", path)
    return was(path)
"""
SIGHTLESS = "cannot read {folder} (No such file or directory); every worker must see it under this name"
UNFIT = {
    "feature code": ("featurize.workers.dask.FEATURE_VERSION", "new = 0", "has feature code 0, and this machine"),
    "library": (
        "featurize.workers.dask.version",
        "new = lambda name: '1.0' if name == 'soxr' else was(name)",
        "has soxr 1.0, and this machine has ",
    ),
    "data": ("os.scandir", BLIND, SIGHTLESS),
}
WITHOUT_US = f"import sys; sys.path[:] = [path for path in sys.path if path != {str(ROOT)!r}]"
UNFIT_FROM_THE_START = {
    "data": (changing("os.scandir", BLIND), SIGHTLESS),
    "package": (WITHOUT_US, "has no package cache; install this project there"),
}


def refusal(data, scheduler, tmp_path):
    """The error with which a run ends before it has left anything."""
    with pytest.raises(UserError) as error:
        build(data, tmp_path / "features.h5", scheduler=scheduler)
    assert list(tmp_path.iterdir()) == []
    return str(error.value)


@pytest.mark.parametrize("what", UNFIT)
def test_an_unfit_worker_is_named_before_work_starts(standing, data, tmp_path, what):
    name, code, complaint = (text.replace("{folder!r}", repr(str(data / "cat"))) for text in UNFIT[what])
    with standing.changed(name, code, 1):
        line = refusal(data, standing.address, tmp_path)
    assert line.startswith(f"worker {standing.address_of(1)} {complaint}".replace("{folder}", str(data / "cat")))
    assert "\n" not in line


@pytest.mark.parametrize("what", UNFIT_FROM_THE_START)
def test_an_unfit_worker_that_joins_is_refused_during_a_run_and_before_the_next(standing, data, tmp_path, what):
    preload, complaint = (text.replace("{folder!r}", repr(str(data / "cat"))) for text in UNFIT_FROM_THE_START[what])
    (tmp_path / "run").mkdir()
    (tmp_path / "next").mkdir()
    try:
        with (
            standing.changed(OPEN, held(tmp_path), 0, 1),
            run(data, standing.address, tmp_path / "run" / "features.h5") as process,
        ):
            wait_for_rows(tmp_path / "run", process, 1)
            standing.add_worker(preload)
            (tmp_path / "go").touch()
            _, err = process.communicate(timeout=60)
        assert process.returncode == 1, err
        (line,) = complaints(err)
        assert "finished clips are kept" in line
        line = line.removeprefix("python -m featurize: ")
        for refused in (line, refusal(data, standing.address, tmp_path / "next")):
            expected = f"worker {standing.address_of(2)} {complaint}".replace("{folder}", str(data / "cat"))
            # Which of our packages is asked for first differs.
            assert refused.replace("package featurize", "package cache").startswith(expected)
    finally:
        standing.stop_workers(2)


def test_a_scheduler_that_cannot_be_reached_is_one_line(data, tmp_path):
    web = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)  # such as Dask's dashboard
    (tmp_path / "other.json").write_text("[]")
    complaints_of = {
        "tcp://127.0.0.1:9": "no Dask scheduler can be reached at 'tcp://127.0.0.1:9' (",
        f"tcp://127.0.0.1:{web.server_port}": "(no answer that a scheduler would give)",
        "tls://127.0.0.1:9": "'tls://127.0.0.1:9' (Dask's configuration names no certificates for TLS",
        "carrier-pigeon://coop": "unknown address scheme 'carrier-pigeon'",
        "localhost": "missing port number in address",
        "missing.json": "missing.json: the scheduler file cannot be read (No such file or directory)",
        str(tmp_path / "other.json"): "other.json is not the file that `dask scheduler --scheduler-file` writes",
    }
    # All at once, because each waits for an answer for some seconds.
    with ThreadPoolExecutor(len(complaints_of)) as all_at_once:

        def refused(number, scheduler):
            (tmp_path / str(number)).mkdir()
            return refusal(data, scheduler, tmp_path / str(number))

        lines = list(all_at_once.map(refused, range(len(complaints_of)), complaints_of))
    for line, complaint in zip(lines, complaints_of.values(), strict=True):
        assert complaint in line
        assert "\n" not in line
    web.server_close()


def test_connecting_can_be_interrupted(data, tmp_path):
    with start(data, "--cache", tmp_path / "features.h5", "--scheduler", "tcp://127.0.0.1:9") as process:
        assert " to compute" in process.stderr.readline()
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    (line,) = complaints(err)
    assert "interrupted" in line


def test_without_the_extra_the_error_names_it(data, tmp_path):
    with run(
        data, "tcp://127.0.0.1:9", tmp_path / "f.h5", code="import sys; sys.modules['distributed'] = None"
    ) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    (line,) = complaints(err)
    assert "--scheduler needs distributed, which is not installed; install it with `pip install '.[cluster]'`" in line


@pytest.mark.parametrize("arguments", [("--dashboard",), ("--scheduler", "tcp://127.0.0.1:9", "--jobs", "2")])
def test_options_that_make_no_sense_together_are_bad_usage(data, arguments):
    with start(data, *arguments) as process:
        _, err = process.communicate()
    assert process.returncode == 2
    assert len(err.splitlines()) == 1


def test_without_a_scheduler_no_run_loads_dask(data, tmp_path):
    report = "import sys, atexit\natexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
    with start(data, "--cache", tmp_path / "f.h5", code=report) as process:
        _, err = process.communicate()
    assert process.returncode == 0
    assert not {"distributed", "dask", "tornado"} & set(err.split())


def test_segments_of_recordings_are_what_they_are_here(standing, tmp_path):
    (tmp_path / "field").mkdir()
    for number in range(3):
        soundfile.write(tmp_path / f"field/r{number}.flac", noise(3 * 16000, seed=number), 16000)
        (tmp_path / f"field/r{number}.txt").write_text("0.5\t1.0\ta\n0.75\t2.5\tb\n")
    with run(tmp_path / "field", standing.address, tmp_path / "f.h5", "--labels", tmp_path / "field") as process:
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert_same(tmp_path / "f.h5", build(tmp_path / "field", tmp_path / "here.h5", labels=[tmp_path / "field"]).cache)
