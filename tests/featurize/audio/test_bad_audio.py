"""A folder of files that are not clips, or broken ones: each is named with a reason, and the good ones are made."""

import errno
import json
import os
import re
import struct
import subprocess
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache import open_cache
from cache.shared.errors import UserError
from cache.shared.text import printable
from featurize import build, featurize_clip
from featurize.update.summary import as_json
from tests import ROOT
from tests.helpers.oracle import notebook
from tests.helpers.sounds import encoded, flipped, noise, pcm16, wav

RNG = np.random.default_rng(0)
GOOD = wav(pcm16())
FLOAT = noise(4000)[:, 0].astype(np.float32)
FLAC, OGG, MP3 = (
    encoded(*kind, noise(48000)) for kind in (("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III"))
)
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0\x90wS\xde\0\0\0\0IEND\xaeB`\x82"
NO_AUDIO = "not audio in any format"
CONVERT = "an encoding that cannot be read; convert it"
NO_SAMPLES = "no samples"
NOT_FINITE = "NaN, infinite or too large"
RATE = "sample rate of"
DAMAGED = "damaged|cut short|not audio|promises audio"
ROW = ""


def with_samples(**samples: float) -> bytes:
    y = FLOAT.copy()
    for at, value in samples.items():
        y[int(at[1:])] = value
    return wav(y, tag=3)


# Name: content, and what the reason says; ROW where what is there can be read whole.
BROKEN = {
    "empty.wav": (b"", "is empty"),
    "one_byte.wav": (b"R", NO_AUDIO),
    "text.wav": (b"Dear diary, today the dog barked.\n" * 50, NO_AUDIO),
    "random.wav": (RNG.bytes(5000), NO_AUDIO),
    "random.flac": (RNG.bytes(5000), NO_AUDIO),
    "random.ogg": (b"OggS" + RNG.bytes(5000), DAMAGED),
    "zeros.mp3": (bytes(5000), NO_AUDIO),
    "picture.wav": (PNG, NO_AUDIO),
    "header_only.wav": (GOOD[:44], NO_SAMPLES),
    "no_samples.wav": (wav(pcm16(0)), NO_SAMPLES),
    "no_data_chunk.wav": (GOOD[:36], DAMAGED),
    "cut_header.wav": (GOOD[:30], DAMAGED),
    "only_riff.wav": (GOOD[:12], DAMAGED),
    "cut_body.wav": (GOOD[:6000], ROW),
    "cut_in_a_sample.wav": (GOOD[:6001], ROW),
    "cut_to_a_third.wav": (GOOD[:3000], "cut short.*0.09 s of the 0.25 s"),
    "sizes_ffffffff.wav": (wav(pcm16(), riff_size=0xFFFFFFFF, data_size=0xFFFFFFFF), ROW),
    "zero_channels.wav": (wav(pcm16(), n_channels=0), DAMAGED),
    "many_channels.wav": (wav(pcm16(), n_channels=32767), f"{NO_SAMPLES}|{DAMAGED}"),
    "zero_rate.wav": (wav(pcm16(), sr=0), f"{RATE}|{DAMAGED}"),
    "rate_1hz.wav": (wav(pcm16(), sr=1), RATE),
    "rate_2ghz.wav": (wav(pcm16(), sr=2_000_000_000), f"{RATE}|{DAMAGED}"),
    "unknown_codec.wav": (wav(pcm16(), tag=0xABCD), CONVERT),
    "64_bits.wav": (wav(pcm16().astype(np.int64) << 48), CONVERT),
    "all_nan.wav": (wav(np.full(4000, np.nan, np.float32), tag=3), NOT_FINITE),
    "one_nan.wav": (with_samples(_2000=np.nan), NOT_FINITE),
    "first_nan.wav": (with_samples(_0=np.nan), NOT_FINITE),
    "last_nan.wav": (with_samples(_3999=np.nan), NOT_FINITE),
    "one_inf.wav": (with_samples(_2000=np.inf), NOT_FINITE),
    "both_inf.wav": (with_samples(_2000=np.inf, _2001=-np.inf), NOT_FINITE),
    "huge.wav": (wav(FLOAT * np.float32(1e30), tag=3), NOT_FINITE),
    "nan_at_44100.wav": (wav(np.full(4000, np.nan, np.float32), tag=3, sr=44100), NOT_FINITE),
    "nan_outside_the_middle.wav": (
        wav(np.r_[np.float32(np.nan), noise(160_000)[:, 0].astype("f4")], tag=3),
        NOT_FINITE,
    ),
    "cut.flac": (FLAC[: len(FLAC) // 2], DAMAGED),
    "cut_early.flac": (FLAC[:60], DAMAGED),
    "flipped.flac": (flipped(FLAC, len(FLAC) // 2, len(FLAC) // 2 + 200), DAMAGED),
    "cut_early.ogg": (OGG[:60], DAMAGED),
    "corrupt_header.ogg": (flipped(OGG, 100, 1500), DAMAGED),
    "cut_early.mp3": (MP3[:60], DAMAGED),
    "corrupt.mp3": (flipped(MP3, 0, 3000), None),
    "cut.mp3": (MP3[: len(MP3) // 2], None),
    "flipped.mp3": (flipped(MP3, len(MP3) // 2, len(MP3) // 2 + 300), None),
    "cut.ogg": (OGG[: len(OGG) // 2], None),
    "corrupt.ogg": (flipped(OGG, len(OGG) // 2, len(OGG) // 2 + 300), ROW),
    "tag_and_garbage.mp3": (b"ID3\x04\0\0\0\0\x0f\x7f" + RNG.bytes(9000), None),
}
HOSTILE = [
    "two\nlines.wav",
    "carriage\rreturn.wav",
    "'single' \"double\" `back`.wav",
    "<script>alert(1)<!--.wav",
    "-rf.wav",
    "--json.wav",
    "=cmd|' !A0.wav",
    "\x1b[2J\x1b]0;title\x07.wav",
    "$(touch x);&|*?%s{}.wav",
    "right\u202eto left.wav",
    "l" * 236 + ".wav",
    "\u7532\u58f0.wav",
]


@dataclass
class Bad:
    """A finished run over all of it; `moving` are the clips that only misbehave in that run."""

    data: Path
    report: dict[str, Any]
    cache: Any
    moving: tuple[str, ...]


def fill(data: Path) -> None:
    for name in ("dog", "cat", "bird"):
        (data / name).mkdir(parents=True)
        for i in range(2):
            (data / name / f"good{i}.wav").write_bytes(wav(pcm16(seed=RNG.integers(1 << 30))))
    dog, cat = data / "dog", data / "cat"
    for name, (content, _) in BROKEN.items():
        (dog / name).write_bytes(content)
    for i, name in enumerate(HOSTILE):
        # A good one and a bad one of every name.
        (dog / name).write_bytes(wav(pcm16(seed=i)))
        (cat / name).write_text(f"no audio {i}")
    (dog / os.fsdecode(b"not \xff utf-8.wav")).write_bytes(GOOD)
    (dog / "dangling.wav").symlink_to("nowhere")
    (dog / "looping.wav").symlink_to("looping.wav")
    (dog / "folder.wav").mkdir()
    os.mkfifo(dog / "pipe.wav")
    (dog / "endless.wav").symlink_to("/dev/zero")
    (dog / "nothing.wav").symlink_to("/dev/null")
    for i, name in enumerate(("changes", "disappears", "unreadable", "failing")):
        (dog / f"{name}.wav").write_bytes(wav(pcm16(seed=100 + i)))


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    data = tmp_path_factory.mktemp("bad") / "data"
    fill(data)
    opened: dict[int, Path] = {}
    real_open, real_pread = os.open, os.pread

    def opening(path, *arguments, **options):
        if str(path).endswith("unreadable.wav"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        file = real_open(path, *arguments, **options)
        opened[file] = Path(os.fsdecode(path))
        return file

    def reading(file, *arguments):
        path = opened.get(file, Path())
        if path.name == "failing.wav":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        content = real_pread(file, *arguments)
        if path.name == "changes.wav":
            path.write_bytes(GOOD + b"more")
        if path.name == "disappears.wav":
            path.unlink()
        return content

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", opening)
        patch.setattr(os, "pread", reading)
        # In this process: a worker that is not forked would know nothing of the patches.
        report = as_json(build(data, data.parent / "features.h5", n_jobs=1))
    moving = tuple(f"dog/{name}.wav" for name in ("changes", "disappears", "unreadable", "failing"))
    return Bad(data, report, open_cache(data.parent / "features.h5"), moving)


def reasons(bad):
    return {clip["path"]: clip["reason"] for clip in bad.report["rejected"]}


def is_in_words(reason):
    technical = re.search(r"Traceback|Errno|\w(Error|Exception)\b|Error :|0x|<|\bNone\b", reason)
    return technical is None and reason.isprintable() and len(re.findall(r"[A-Za-z]{2,}", reason)) >= 3


def check_row(bad, path):
    x = bad.cache.X[bad.cache.paths.index(path)]
    assert np.isfinite(x).all()
    assert x.min() >= 0
    assert x.max() <= 1
    # None of these files is silent, so a row of zeros would stand for nothing that was read.
    assert x.max() > 0.99
    np.testing.assert_allclose(x, notebook(bad.data / path), atol=1e-4)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_the_notebooks_row_or_rejected_by_name_with_a_reason_of_words(bad, name):
    expected, path = BROKEN[name][1], f"dog/{name}"
    rejected = reasons(bad)
    assert (path in rejected) != (path in bad.cache.paths)
    if expected is not None:
        assert (path in bad.cache.paths) == (expected == ROW), rejected.get(path)
    if path in rejected:
        assert is_in_words(rejected[path])
        assert re.search(expected or f"{DAMAGED}|{NO_SAMPLES}", rejected[path])
    else:
        check_row(bad, path)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_a_clip_like_any_other(bad, name):
    check_row(bad, f"dog/{name}")
    assert NO_AUDIO in reasons(bad)[f"cat/{name}"]


def test_the_good_clips_among_them_are_all_there(bad):
    for path in (f"{name}/good{i}.wav" for name in ("dog", "cat", "bird") for i in range(2)):
        check_row(bad, path)


def test_a_name_that_is_no_utf8_is_rejected_and_shown_escaped(bad):
    assert "not UTF-8" in reasons(bad)[r"dog/not \udcff utf-8.wav"]


@pytest.mark.parametrize("name", ["dangling", "looping"])
def test_a_link_that_leads_nowhere_is_rejected(bad, name):
    assert "a link that leads nowhere" in reasons(bad)[f"dog/{name}.wav"]


@pytest.mark.parametrize(
    ("name", "kind"), [("folder", "folder"), ("pipe", "pipe"), ("endless", "device"), ("nothing", "device")]
)
def test_what_is_no_file_is_ignored_by_name_without_opening_it(bad, name, kind):
    ignored = {clip["path"]: clip["reason"] for clip in bad.report["ignored"]}
    assert ignored[f"dog/{name}.wav"] == f"it is a {kind}, not a file"
    assert len(ignored) == 4


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("changes", "changed while it was read"),
        ("disappears", "disappeared while it was read"),
        ("unreadable", "cannot be opened .*Permission denied"),
        ("failing", "cannot be read .*Input/output error"),
    ],
)
def test_a_clip_that_fails_while_it_is_read_is_rejected_with_that_reason(bad, name, reason):
    assert re.search(reason, reasons(bad)[f"dog/{name}.wav"])


def test_every_file_of_the_folder_is_accounted_for_once(bad):
    ignored = [clip["path"] for clip in bad.report["ignored"]]
    named = [*bad.cache.paths, *reasons(bad), *ignored]
    there = [printable(path) if "\udcff" in path else path for path in map(str, relative(bad))]
    assert sorted(named) == sorted({*there, "dog/disappears.wav"})


def relative(bad):
    return (Path(name) / file for name in ("dog", "cat", "bird") for file in os.listdir(bad.data / name))  # noqa: PTH208


def test_no_row_of_the_cache_is_all_zeros(bad):
    assert bad.report["n_silent"] == 0
    assert bad.cache.X[:].any(axis=(1, 2, 3)).all()


@pytest.fixture(scope="module")
def spoken(bad):
    """A real process's result for the folder, as JSON and then as text; both have everything to compute."""
    return [process(bad, f"{mode or 'text'}.h5", *([mode] if mode else [])) for mode in ("--json", "")]


def process(bad, cache_name, *options):
    command = [sys.executable, "-m", "featurize", str(bad.data), "--cache", str(bad.data.parent / cache_name), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done


def test_the_command_says_as_json_what_was_found_and_keeps_names_escaped(bad, spoken):
    report = json.loads(spoken[0].stdout)
    assert spoken[0].stdout.count(b"\n") == 1
    assert spoken[0].stdout.isascii()
    told = {clip["path"]: clip["reason"] for clip in report["rejected"]}
    assert told == {path: reason for path, reason in reasons(bad).items() if path not in bad.moving}
    assert report["ignored"] == bad.report["ignored"]


def test_the_command_gives_every_problem_one_line_of_text_with_its_name_escaped(bad, spoken):
    lines = spoken[1].stdout.decode().split("\n")
    assert all(line.isprintable() for line in lines)
    rejected = [line for line in lines if line.startswith("rejected ")]
    expected = {path: reason for path, reason in reasons(bad).items() if path not in bad.moving}
    assert rejected == [f"rejected {printable(path)}: {reason}" for path, reason in sorted(expected.items())]
    assert len([line for line in lines if line.startswith("ignored ")]) == 4


def test_no_decoder_speaks_to_the_terminal(spoken):
    for done in spoken:
        (line,) = done.stderr.decode().splitlines()
        assert re.fullmatch(r"\d+ clips? to compute; needs up to .* of disk, .* are free", line)


ODD_NUMBERS = (0, 1, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@pytest.mark.slow
@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "OGG", "MP3"])
def test_any_number_in_a_header_makes_a_row_or_an_error_of_words(tmp_path, container):
    subtype = {"OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}.get(container, "PCM_16")
    whole = encoded(container, subtype, noise(3000))
    path, reasons = tmp_path / "clip.wav", set()
    for at, number, layout in product(range(0, 64, 2), ODD_NUMBERS, ("<I", ">I")):
        data = bytearray(whole)
        struct.pack_into(layout, data, at, number)
        path.write_bytes(data)
        try:
            assert np.isfinite(featurize_clip(path)).all()
        except UserError as error:
            reasons.add(str(error).removeprefix(f"{path}: "))
    assert all(is_in_words(reason) for reason in reasons), reasons


def claims_of_gigabytes():
    """Small files of every container whose header says that they go on for gigabytes or more."""
    y = noise(4000)
    aiff, au, caf, w64, rf64 = (encoded(kind, "PCM_16", y) for kind in ("AIFF", "AU", "CAF", "W64", "RF64"))
    at = {kind: data.index(b"data") + 4 for kind, data in (("caf", caf), ("w64", w64))}
    ds64 = rf64.index(b"ds64") + 8
    comm, ssnd = aiff.index(b"COMM") + 10, aiff.index(b"SSND") + 4
    most = struct.pack("<Q", 1 << 60)
    return {
        "data.wav": wav(pcm16(), data_size=0xFFFFFFF0, riff_size=0xFFFFFFFF),
        "float.wav": wav(FLOAT, tag=3, data_size=0x7FFFFFF0),
        "channels.wav": wav(pcm16(), n_channels=1024, data_size=0x7FFFF000),
        "fmt.wav": GOOD[:16] + b"\xf0\xff\xff\x7f" + GOOD[20:],
        "list.wav": GOOD[:36] + b"LIST\xf0\xff\xff\x7f" + GOOD[36:],
        "comm.aiff": aiff[:comm] + b"\x7f\xff\xff\xff" + aiff[comm + 4 :],
        "ssnd.aiff": aiff[:ssnd] + b"\x7f\xff\xff\xff" + aiff[ssnd + 4 :],
        "size.au": au[:8] + b"\x7f\xff\xff\xff" + au[12:],
        "size.caf": caf[: at["caf"]] + most[::-1] + caf[at["caf"] + 8 :],
        "size.w64": w64[: at["w64"] + 12] + most + w64[at["w64"] + 20 :],
        "size.rf64": rf64[:ds64] + 3 * most + rf64[ds64 + 24 :],
        # The lowest 36 of the 64 bits after the block and frame sizes are the number of samples.
        "total.flac": FLAC[:21] + bytes([FLAC[21] | 0x0F]) + b"\xff\xff\xff\xff" + FLAC[26:],
        "id3.mp3": b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + MP3,
    }


LIMITED = """
import json, resource, sys
from pathlib import Path
from featurize import build, featurize_clip
from featurize.audio.audio import ClipError
import av
good, *claims = map(Path, sys.argv[1:])
for warm_up in (good, good.with_suffix(".flac")):
    featurize_clip(warm_up)
room = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + (48 << 20)
resource.setrlimit(resource.RLIMIT_AS, (room, room))
said = {}
for path in claims:
    try:
        said[path.name] = "" if featurize_clip(path).max() > 0.99 else "zeros"
    except ClipError as error:
        said[path.name] = str(error)
print(json.dumps(said))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux to know what a process has mapped")
def test_a_header_that_claims_gigabytes_gets_no_memory_for_them(tmp_path):
    good = tmp_path / "good.wav"
    good.write_bytes(wav(pcm16(), sr=44100))
    good.with_suffix(".flac").write_bytes(encoded("FLAC", "PCM_16", noise(400_000), 44100))
    claims = claims_of_gigabytes()
    for name, content in claims.items():
        (tmp_path / name).write_bytes(content)
    command = [sys.executable, "-c", LIMITED, str(good), *(str(tmp_path / name) for name in claims)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said.keys() == claims.keys()
    for name, reason in said.items():
        assert reason == "" or is_in_words(reason), name
        assert "emory" not in reason, name
