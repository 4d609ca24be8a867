"""One run at a time writes a cache; readers neither wait nor see a change."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
import soundfile

from cache import open_cache
from cache.shared.errors import UserError
from cache.shared.files import locked
from featurize import build
from tests import ROOT

HOLD = """
import sys
from pathlib import Path
from cache.shared.files import locked
with locked(Path(sys.argv[1] + ".lock"), "is writing", "wait", print):
    print("held", flush=True)
    sys.stdin.read()
"""


def writing(cache_file, wait, notify):
    """Hold the lock that a run of featurize holds while it writes."""
    lock = cache_file.with_name(cache_file.name + ".lock")
    return locked(lock, f"is writing {cache_file}", "wait for it", notify, wait)


@pytest.fixture
def cache_file(tmp_path):
    return tmp_path / "features.h5"


@pytest.fixture
def holder(cache_file):
    """Another process that holds the right to write; closing its stdin ends it in peace."""
    command = [sys.executable, "-c", HOLD, str(cache_file)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.fixture
def data(tmp_path):
    for name in ("dog", "cat", "bird"):
        (tmp_path / "data" / name).mkdir(parents=True)
        soundfile.write(tmp_path / "data" / name / "1.wav", [0.1, -0.2, 0.3] * 200, 16000)
    return tmp_path / "data"


def test_a_second_run_says_who_is_writing(data, cache_file, holder):
    command = [sys.executable, "-m", "featurize", str(data), "--cache", str(cache_file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    expected = f"process {holder.pid} is writing {cache_file}; let it finish, or wait for it with --wait"
    assert done.stderr == f"python -m featurize: {expected}\n"
    assert not cache_file.exists()


def test_a_run_that_waits_finds_what_the_other_made(data, cache_file):
    said, results = [], []
    with writing(cache_file, False, said.append):
        waiting = threading.Thread(
            target=lambda: results.append(build(data, cache_file, wait=True, notify=said.append))
        )
        waiting.start()
        wait_until(lambda: said)
        assert said == [f"process {os.getpid()} is writing {cache_file}; waiting for it"]
        made = publish_without_lock(data, cache_file)
    waiting.join()
    assert (results[0].n_computed, results[0].n_reused) == (0, 3)
    assert results[0].cache.fingerprint == made.fingerprint


def test_a_run_that_waits_looks_at_the_clips_again(data, cache_file):
    said, results = [], []
    with writing(cache_file, False, said.append):
        waiting = threading.Thread(
            target=lambda: results.append(build(data, cache_file, wait=True, notify=said.append))
        )
        waiting.start()
        wait_until(lambda: said)
        soundfile.write(data / "cat" / "1.wav", [0.3, 0.1] * 400, 16000)
        soundfile.write(data / "cat" / "2.wav", [0.4, 0.1] * 400, 16000)
    waiting.join()
    assert results[0].cache.paths == ["dog/1.wav", "cat/1.wav", "cat/2.wav", "bird/1.wav"]
    assert not results[0].cache.rejections


def publish_without_lock(data, cache_file):
    """The other process, while it holds the lock: make the cache under another name and move it in place."""
    elsewhere = cache_file.with_name("elsewhere.h5")
    made = build(data, elsewhere).cache
    elsewhere.replace(cache_file)
    return made


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_lock_goes_with_a_holder_that_is_killed(cache_file, holder):
    with pytest.raises(UserError, match=f"process {holder.pid} is writing"), writing(cache_file, False, print):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with writing(cache_file, False, print):
        assert cache_file.with_name("features.h5.lock").read_text() == f"{os.getpid()}\n{socket.gethostname()}\n"
    assert list(cache_file.parent.iterdir()) == []


def test_the_workers_of_a_killed_run_do_not_hold_its_lock(data, cache_file):
    for i in range(2, 200):
        os.link(data / "dog" / "1.wav", data / "dog" / f"{i}.wav")
    command = [sys.executable, "-m", "featurize", str(data), "--cache", str(cache_file), "--jobs", "2"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        journal = cache_file.with_name("features.h5.partial.journal")
        wait_until(lambda: (journal.exists() and journal.read_bytes().count(b"\n") > 1) or process.poll() is not None)
        process.kill()
    with writing(cache_file, False, print):
        pass


def test_only_one_of_many_holds_the_lock_at_a_time(cache_file):
    """Each of 4 processes takes and leaves the lock 50 times, and notes in a file when it has it."""
    log = cache_file.with_name("log")
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom cache.shared.files import locked\n"
        "log = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)\n"
        "for _ in range(50):\n"
        "    with locked(Path(sys.argv[1] + '.lock'), 'writes', 'wait', lambda line: None, wait=True):\n"
        "        os.write(log, b'in %d\\n' % os.getpid())\n"
        "        os.write(log, b'out %d\\n' % os.getpid())\n"
    )
    command = [sys.executable, "-c", code, str(cache_file), str(log)]
    for process in [subprocess.Popen(command, cwd=ROOT) for _ in range(4)]:
        assert process.wait() == 0
    lines = log.read_text().split("\n")[:-1]
    assert len(lines) == 4 * 50 * 2
    for entered, left in zip(lines[::2], lines[1::2], strict=True):
        assert entered.replace("in", "out") == left


@pytest.mark.parametrize("state", ["TRUE", "FALSE", "BEST_EFFORT", None])
def test_the_state_of_hdf5s_own_locks_is_all_the_same(data, cache_file, state):
    environment = {name: value for name, value in os.environ.items() if name != "HDF5_USE_FILE_LOCKING"}
    if state is not None:
        environment["HDF5_USE_FILE_LOCKING"] = state
    command = [sys.executable, "-m", "featurize", str(data), "--cache", str(cache_file), "--json"]
    first = build(data, cache_file).cache
    soundfile.write(data / "dog" / "2.wav", [0.1] * 800, 16000)
    # Another program may even hold the old file by a lock of its own.
    with cache_file.open("rb") as reader:
        fcntl.flock(reader, fcntl.LOCK_EX)
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["n_reused"] == 3
    assert len(first) == 3
    assert len(open_cache(cache_file)) == 4


NO_FLOCK = """
import errno, fcntl, os
def no_flock(file, operation):
    raise OSError(errno.{name}, os.strerror(errno.{name}))
fcntl.flock = no_flock
"""


@pytest.mark.parametrize("name", ["ENOSYS", "ENOLCK", "EOPNOTSUPP"])
def test_on_a_file_system_without_locks_a_file_stands_for_one(data, cache_file, monkeypatch, name):
    monkeypatch.setattr(fcntl, "flock", fcntl.flock)  # to be put back afterwards
    exec(NO_FLOCK.format(name=name), {})
    said = []
    with writing(cache_file, False, said.append):
        assert len(said) == 1
        assert "without locks" in said[0]
        marker = cache_file.with_name("features.h5.locked")
        assert marker.read_text().startswith(f"{os.getpid()}\n")
        with (
            pytest.raises(UserError, match=f"process {os.getpid()} is writing"),
            writing(cache_file, False, said.append),
        ):
            pass
    with pytest.warns(UserWarning, match="is on a file system without locks"):
        build(data, cache_file)
    assert [file.name for file in cache_file.parent.iterdir() if file != data] == ["features.h5"]


def test_such_a_file_of_a_killed_run_is_taken_over(cache_file, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", fcntl.flock)
    exec(NO_FLOCK.format(name="ENOSYS"), {})
    command = [sys.executable, "-c", NO_FLOCK.format(name="ENOSYS") + HOLD, str(cache_file)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert "without locks" in process.stdout.readline()
        assert process.stdout.readline() == "held\n"
        process.kill()
    assert cache_file.with_name("features.h5.locked").exists()
    with writing(cache_file, False, print):
        assert cache_file.with_name("features.h5.locked").read_text().startswith(f"{os.getpid()}\n")
    assert not cache_file.with_name("features.h5.locked").exists()


def test_a_cache_that_is_open_stays_as_it_was_while_others_are_published_over_it(data, cache_file):
    old = build(data, cache_file).cache
    X, y, paths, fingerprint = old.X.tobytes(), old.y.tobytes(), old.paths, old.fingerprint
    for i in range(2, 5):
        soundfile.write(data / "bird" / f"{i}.wav", [0.1 * i, -0.3, 0.2] * 300, 16000)
        (data / "dog" / "1.wav").touch()
        new = build(data, cache_file).cache
        assert len(new) == 2 + i
        assert (old.X.tobytes(), old.y.tobytes(), old.paths, old.fingerprint) == (X, y, paths, fingerprint)
    assert open_cache(cache_file).fingerprint == new.fingerprint != fingerprint
