"""A run that is told to stop, loses a worker or runs out of disk ends soon, with one line and the right exit code."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from cache import open_cache
from cache.file.settings import MelSettings
from cache.look.info import check_rows
from cache.shared.errors import UserError
from featurize import build
from featurize.workers.processes import processes
from tests.helpers.commands import complaints, start, wait_for_rows
from tests.helpers.forks import fork
from tests.helpers.sounds import wav
from tests.helpers.tones import write_tiny_clips

N_PER_CLASS = 40


@pytest.fixture
def data(tmp_path):
    """120 clips of a twentieth of a second."""
    return write_tiny_clips(tmp_path / "data", N_PER_CLASS)


def hours_of_silence(path, n_hours):
    """A sparse file: no disk, but minutes of work."""
    n_bytes = n_hours * 3600 * 44100 * 4
    head = wav(np.empty(0, np.int16), sr=44100, n_channels=2, riff_size=n_bytes + 36, data_size=n_bytes)
    path.write_bytes(head)
    os.truncate(path, 44 + n_bytes)


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_nobody_waits_for_a_worker_that_is_inside_hours_of_audio(data, how, n_jobs):
    hours_of_silence(data / "dog" / "20.wav", 5)
    with fork(data, "--jobs", n_jobs) as process:
        wait_for_rows(data, process, 10)
        time.sleep(0.3)
        process.send_signal(how)
        _, err = process.communicate(timeout=10)
    assert process.returncode == 128 + how
    (line,) = complaints(err)
    n_kept = (data / "features.h5.partial.journal").read_bytes().count(b"\n") - 1
    assert f"interrupted; {n_kept} of 120 clips are finished and kept; run the same command again to go on" in line
    (data / "dog" / "20.wav").unlink()
    assert build(data, data / "features.h5").n_reused == n_kept


INTERRUPTING = """
import os, sys
class Interrupt:
    def find_spec(name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(Interrupt)
            os.kill(os.getpid(), {how:d})
sys.meta_path.insert(0, Interrupt)
"""


@pytest.mark.parametrize("module", ["typer", "numpy", "h5py", "filelock", "tqdm", "llvmlite.binding"])
def test_an_interrupt_during_the_imports_is_one_line(data, module):
    for how in (signal.SIGINT, signal.SIGTERM):
        with start(data, "--jobs", 1, code=INTERRUPTING.format(module=module, how=how)) as process:
            _, err = process.communicate()
        assert process.returncode == 128 + how, err
        (line,) = complaints(err)
        assert line.startswith("python -m featurize: interrupted; ")


def test_a_second_interrupt_does_not_break_into_the_first(data):
    hours_of_silence(data / "dog" / "20.wav", 5)
    for delay in (0, 0.001, 0.005):
        # The journal of the run before says nothing about how far this one is.
        for file in data.glob("features.h5.partial*"):
            file.unlink()
        with fork(data, "--jobs", 1) as process:
            wait_for_rows(data, process, 0)
            process.send_signal(signal.SIGINT)
            time.sleep(delay)
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate()
        assert process.returncode in (130, 143)
        assert len(complaints(err)) == 1, err


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_the_last_of_the_interpreter_takes_nothing_back(data, how):
    # The handler that is registered first runs last, when only Python's own are left to go.
    code = f"import atexit, os; atexit.register(os.kill, os.getpid(), {how:d})\n"
    with start(data, code=code) as process:
        _, err = process.communicate()
    assert process.returncode == 0
    assert complaints(err) == []
    assert len(open_cache(data / "features.h5")) == 3 * N_PER_CLASS


def test_a_second_signal_while_the_first_is_answered_adds_no_line(data):
    code = (
        "import os, signal\n"
        "write = os.write\n"
        "def interrupted(*rest):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return write(*rest)\n"
        "def leave():\n"
        "    os.write = interrupted\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "import atexit\n"
        "from cache.shared import cli\n"
        "cli._outlast_handlers()\n"
        "atexit.register(leave)\n"
    )
    with start(data, code=code) as process:
        _, err = process.communicate()
    assert process.returncode == 130
    assert len(complaints(err)) == 1, err


def test_an_interrupt_that_a_callback_swallows_still_ends_the_run(data):
    code = (
        "import os, signal, time, featurize.audio.find\n"
        "class Swallow:\n"
        "    def __del__(self): os.kill(os.getpid(), signal.SIGINT); time.sleep(0)\n"
        "find_clips = featurize.audio.find.find_clips\n"
        "def find(*rest): Swallow(); time.sleep(300); return find_clips(*rest)\n"
        "featurize.audio.find.find_clips = find\n"
    )
    with start(data, code=code) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert len(complaints(err)) == 1, err


def test_a_signal_to_the_whole_group_is_still_an_interrupt(data):
    hours_of_silence(data / "dog" / "20.wav", 5)
    with fork(data, "--jobs", 2, start_new_session=True) as process:
        wait_for_rows(data, process, 10)
        os.killpg(process.pid, signal.SIGTERM)
        _, err = process.communicate(timeout=10)
    assert process.returncode == 143
    assert len(complaints(err)) == 1, err


BREAKING = """
import os, signal, featurize.workers.batch
open_audio = featurize.workers.batch.open_audio
def open_or_break(path, *rest):
    if "/".join(path.split("/")[-2:]) in {clips}:
        {how}
    return open_audio(path, *rest)
featurize.workers.batch.open_audio = open_or_break
"""


@pytest.mark.parametrize(
    ("how", "killers"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", {"cat/07.wav"}),
        ("os._exit(0)", {"dog/00.wav", "cat/07.wav", "cat/08.wav", "bird/39.wav"}),
    ],
)
def test_a_clip_of_which_its_worker_dies_costs_only_itself(data, how, killers):
    with fork(data, "--jobs", 2, "--json", code=BREAKING.format(clips=killers, how=how)) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert complaints(err) == []
    rejected = json.loads(out)["rejected"]
    assert {bad["path"] for bad in rejected} == killers
    assert {bad["reason"].split(";")[0] for bad in rejected} == {"the worker that computes it dies of it"}
    # Rows that were computed twice are the same as ever, and without the fault the clips are taken.
    assert build(data, data / "features.h5").n_computed == len(killers)
    expected = build(data, data.parent / "expected.h5").cache
    assert open_cache(data / "features.h5").fingerprint == expected.fingerprint


# Every worker is deaf to SIGTERM, as it is for a moment while it starts. One is inside a clip when the other dies.
DEAF = """
import os, pathlib, signal, time
def be_deaf():
    really = signal.signal
    really(signal.SIGTERM, signal.SIG_IGN)
    signal.signal = lambda signum, how: signum == signal.SIGTERM or really(signum, how)
os.register_at_fork(after_in_child=be_deaf)
inside = pathlib.Path({inside!r})
def die_or_stay(path):
    if path.endswith("dog/20.wav"):
        while not inside.exists():
            time.sleep(0.01)
        os._exit(0)
    if not inside.exists():
        inside.touch()
        time.sleep(60)
"""


def test_no_run_waits_for_a_worker_that_does_not_hear_that_it_is_to_go(data, tmp_path):
    code = DEAF.format(inside=str(tmp_path / "inside"))
    code += BREAKING.format(clips={"dog/00.wav", "dog/20.wav"}, how="die_or_stay(path)")
    with fork(data, "--jobs", 2, "--json", code=code) as process:
        out, err = process.communicate(timeout=40)
    assert process.returncode == 0, err
    assert [bad["path"] for bad in json.loads(out)["rejected"]] == ["dog/20.wav"]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="processes are listed from Linux's /proc")
def test_a_test_that_fails_leaves_nothing_running(data):
    hours_of_silence(data / "dog" / "20.wav", 5)

    def fail():
        with start(data, "--jobs", 2) as process:
            wait_for_rows(data, process, 10)
            raise AssertionError("as a test that fails")

    with pytest.raises(AssertionError, match="as a test that fails"):
        fail()
    deadline = time.monotonic() + 10
    while running := [line for line in command_lines() if str(data) in line]:
        assert time.monotonic() < deadline, running
        time.sleep(0.05)


def command_lines():
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            yield file.read_text(errors="replace")


def test_workers_that_die_of_everything_end_the_run(data):
    clips = {f"dog/{i:02}.wav" for i in range(20, 40)}
    with fork(data, "--jobs", 2, code=BREAKING.format(clips=clips, how="os._exit(0)")) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    (line,) = complaints(err)
    assert "workers died of 10 clips, dog/" in line
    assert "so the clips are hardly to blame; finished clips are kept" in line
    assert out == ""
    n_kept = (data / "features.h5.partial.journal").read_bytes().count(b"\n") - 1
    result = build(data, data / "features.h5")
    assert result.n_reused == n_kept - 9 > 0
    assert len(result.cache) == 120


def test_an_error_leaves_no_thread_behind_for_python_to_meet_on_its_way_out():
    def fail():
        with processes(2, 100, MelSettings(), "float32", Path("no-rows")) as pool:
            pool.executor.submit(time.sleep, 60)
            assert pool.executor.submit(abs, -1).result() == 1
            raise UserError("a clip failed")

    threads = set(threading.enumerate())
    with pytest.raises(UserError, match="a clip failed"):
        fail()
    assert set(threading.enumerate()) <= threads


def test_a_worker_that_fails_is_an_error_that_names_its_clip(data):
    hours_of_silence(data / "dog" / "20.wav", 5)  # for which nobody must wait
    code = BREAKING.format(clips={"cat/07.wav"}, how="raise SystemExit(3)")
    with fork(data, "--jobs", 2, code=code) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert len(complaints(err)) == 1, err
    (line,) = complaints(err)
    assert line.startswith("python -m featurize: a worker failed (SystemExit: 3) while it was on cat/07.wav")
    assert "finished clips are kept" in line
    assert out == ""


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("os.utime(path)", "it changed after it was found; run it again"),
        ("os.unlink(path)", "it disappeared while it was to be read"),
        ("os.truncate(path, 50)", "it changed after it was found; run it again"),
    ],
)
def test_a_clip_that_changes_before_it_is_read_costs_only_itself(data, how, reason):
    with fork(data, "--jobs", 2, "--json", code=BREAKING.format(clips={"cat/07.wav"}, how=how)) as process:
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert json.loads(out)["rejected"] == [{"path": "cat/07.wav", "reason": reason}]
    assert json.loads(out)["n_clips"] == 119


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("os.utime(path, (1, 1))", "it changed while it was read"),
        ("os.unlink(path)", "it disappeared while it was read"),
        ("os.replace(path.replace('cat/07', 'cat/08'), path)", "it changed while it was read"),
    ],
)
def test_a_clip_that_changes_while_it_is_read_costs_only_itself(data, how, reason):
    code = (
        "import os, featurize.workers.batch, featurize.workers.rows\n"
        "mono_blocks, open_audio = featurize.workers.rows.mono_blocks, featurize.workers.batch.open_audio\n"
        "def remember(opened, *rest):\n"
        "    global path\n"
        "    path = opened\n"
        "    return open_audio(opened, *rest)\n"
        "def change(*arguments):\n"
        f"    if path.endswith('cat/07.wav'): {how}\n"
        "    return mono_blocks(*arguments)\n"
        "featurize.workers.rows.mono_blocks, featurize.workers.batch.open_audio = change, remember\n"
    )
    with fork(data, "--jobs", 1, "--json", code=code) as process:
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert {"path": "cat/07.wav", "reason": reason} in json.loads(out)["rejected"]


def test_it_runs_where_the_system_has_no_fdatasync_and_no_copy_file_range(data):
    code = "import os\nfor name in ('fdatasync', 'copy_file_range'): delattr(os, name)\n"
    for n_clips, per_class in ((30, 10), (60, 20)):
        with start(data, "--jobs", 2, "--json", "--max-per-class", per_class, code=code) as process:
            out, err = process.communicate()
        assert process.returncode == 0, err
        assert json.loads(out)["n_computed"] == 30
        assert check_rows(open_cache(data / "features.h5")) == n_clips


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MB, where we may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk to fill up")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_fills_up_keeps_the_old_cache_and_the_finished_rows(data, small_disk):
    old = build(data, small_disk / "features.h5", max_per_class=2).cache
    # Another program takes the room that was free when the run began: the check beforehand cannot know.
    code = (
        "import shutil\nusage = shutil.disk_usage\nshutil.disk_usage = lambda path: usage(path)._replace(free=10**9)\n"
    )
    with fork(data, "--cache", small_disk / "features.h5", "--max-per-class", 0, code=code) as process:
        _, err = process.communicate()
    assert process.returncode == 1
    (line,) = complaints(err)
    assert "cannot be written (No space left on device); make room and run it again" in line
    assert open_cache(small_disk / "features.h5").fingerprint == old.fingerprint
    assert {file.name for file in small_disk.iterdir()} <= {
        "features.h5",
        "features.h5.partial",
        "features.h5.partial.journal",
    }
    n_kept = (small_disk / "features.h5.partial.journal").read_bytes().count(b"\n") - 1
    subprocess.run(["mount", "-o", "remount,size=40m", str(small_disk)], check=True)
    result = build(data, small_disk / "features.h5", max_per_class=0)
    assert 20 < n_kept < 60
    assert result.n_computed == 120 - 6 - n_kept
    assert check_rows(result.cache) == 120


def test_a_read_only_disk_is_said_in_a_line_and_serves_as_it_is(data, small_disk):
    build(data, small_disk / "features.h5", max_per_class=2)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for per_class, code in ((2, 0), (3, 1)):
        with fork(data, "--cache", small_disk / "features.h5", "--max-per-class", per_class) as process:
            _, err = process.communicate()
        assert process.returncode == code
    (line,) = complaints(err)
    assert "cannot be written (Read-only file system)" in line
    assert [file.name for file in small_disk.iterdir()] == ["features.h5"]
