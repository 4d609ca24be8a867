"""Standard input as a microphone: lines come while the sound goes on, and Ctrl-C ends it with what was found."""

import re
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from tests import ROOT

SR = 16000
SILENCE = np.zeros(SR, np.int16)
# The sizes that these programs state for a length that they do not know.
HEADERS = {"arecord": 0x7FFFFFFF, "ffmpeg": 0xFFFFFFFF, "others": 0}


def header(n_bytes: int) -> bytes:
    chunks = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, SR, 2 * SR, 2, 16) + b"data" + struct.pack("<I", n_bytes)
    return b"RIFF" + struct.pack("<I", min(n_bytes + 36, 0xFFFFFFFF)) + chunks


@pytest.fixture
def call(tones: Path) -> npt.NDArray[np.int16]:
    """A second of a tone that the run knows."""
    y, _ = soundfile.read(min((tones / "dog").glob("*.wav")), dtype="int16")
    return np.concatenate((y, y))


@pytest.fixture
def listener(run: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "train", "predict", str(run), "-"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )
    yield process
    process.kill()
    process.communicate()


def wait_for(listener: subprocess.Popen[bytes], second: bytes) -> None:
    """Read lines up to one that begins within a second of the recording; a call may be taken for several classes."""
    assert listener.stdout is not None
    while second not in (line := listener.stdout.readline()):
        assert line, "the sound has ended"


@pytest.mark.parametrize("n_bytes", HEADERS.values(), ids=HEADERS.keys())
def test_a_line_comes_while_the_sound_goes_on_and_silence_is_quiet(
    n_bytes: int, listener: subprocess.Popen[bytes], call: npt.NDArray[np.int16]
) -> None:
    assert listener.stdin is not None
    # Nothing ends the pipe, so whoever waits for its end waits for ever.
    listener.stdin.write(header(n_bytes))
    for y in (SILENCE, SILENCE, call, SILENCE, SILENCE):
        listener.stdin.write(y.tobytes())
    wait_for(listener, b"  0:02.")
    listener.stdin.write(np.concatenate((call, SILENCE, SILENCE)).tobytes())
    wait_for(listener, b"  0:05.")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_what_was_found(
    signum: signal.Signals, listener: subprocess.Popen[bytes], call: npt.NDArray[np.int16]
) -> None:
    assert listener.stdin is not None
    listener.stdin.write(header(HEADERS["arecord"]))
    for y in (call, SILENCE, SILENCE):
        listener.stdin.write(y.tobytes())
    wait_for(listener, b"  0:00.00")
    # A pipe holds two of these seconds, so all others are read when they are written.
    listener.stdin.write(np.tile(call, 6).tobytes())
    listener.send_signal(signum)
    # As a microphone goes on, whether anybody listens or not.
    with suppress(BrokenPipeError):
        listener.stdin.write(SILENCE.tobytes())
    said, errors = listener.communicate()
    *found, last = said.decode().splitlines()
    assert any(re.search(r"  0:0[2-4]\.", line) for line in found)
    assert "windows" in last
    assert listener.returncode == 128 + signum
    assert errors.decode() == "python -m train: interrupted\n"


def test_memory_is_flat_with_the_length_of_the_sound(run: Path, call: npt.NDArray[np.int16]) -> None:
    code = "import pathlib, runpy, sys; sys.argv = ['train', 'predict', *sys.argv[1:]]\n"
    code += "try: runpy.run_module('train', run_name='__main__')\n"
    # Not ru_maxrss, in which a process that was forked begins with the memory of its parent.
    code += "finally: sys.stderr.write(pathlib.Path('/proc/self/status').read_text())"
    peaks = []
    for n_seconds in (60, 600):
        sound = header(HEADERS["arecord"]) + np.resize(np.concatenate((call, SILENCE)), n_seconds * SR).tobytes()
        done = subprocess.run(
            [sys.executable, "-c", code, str(run), "-"], cwd=ROOT, input=sound, capture_output=True, check=True
        )
        peaks.append(int(done.stderr.split(b"VmHWM:")[1].split()[0]))
    # Ten minutes of sound are 38 MB as floats.
    assert peaks[1] < peaks[0] + 20_000
