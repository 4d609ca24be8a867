"""Unusual clips that are good all the same: each row is the notebook's, whatever the container, encoding or length."""

import errno
import os
import random
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cache.file.settings import MelSettings
from featurize import build, featurize_clip
from featurize.audio.audio import Audio, ClipError
from featurize.audio.decode import open_audio, plain_wav, read_ahead
from featurize.features.row import n_frames_of
from featurize.update.summary import as_json
from tests.helpers.amounts import amount
from tests.helpers.oracle import notebook
from tests.helpers.sounds import FORMATS, encoded, flipped, noise, pcm16, wav

HOP = 512


def check(path):
    """The row equals librosa's and is finite and within [0, 1]; return it."""
    x = featurize_clip(path)
    assert x.shape == (128, 128, 1)
    assert x.dtype == np.float32
    assert np.isfinite(x).all()
    assert x.min() >= 0
    assert x.max() <= 1
    np.testing.assert_allclose(x, notebook(path), atol=1e-4)
    return x


def samples_of(audio: Audio):
    return np.concatenate([block * np.float32(audio.scale) for block in audio.blocks()])


def written(folder, container, subtype, y, sr=16000):
    path = folder / f"clip.{container.lower()}"
    path.write_bytes(encoded(container, subtype, y, sr))
    return path


@pytest.mark.parametrize("n_channels", [1, 2])
@pytest.mark.parametrize(("container", "subtype"), FORMATS)
def test_every_container_and_encoding_is_the_notebooks_row(tmp_path, container, subtype, n_channels):
    path = written(tmp_path, container, subtype, noise(48000, n_channels))
    assert check(path).max() > 0.99


@pytest.mark.parametrize(("container", "subtype"), FORMATS)
def test_a_clip_that_is_read_in_blocks_is_the_notebooks_row(tmp_path, container, subtype):
    check(written(tmp_path, container, subtype, noise(300_001), 48000))


@pytest.mark.parametrize(("container", "subtype"), FORMATS)
def test_samples_are_the_same_in_small_blocks_as_in_one(tmp_path, monkeypatch, container, subtype):
    path = written(tmp_path, container, subtype, noise(40_000))

    def samples(n):
        for module in ("decode", "sndfile"):
            monkeypatch.setattr(f"featurize.audio.{module}.BLOCK_SAMPLES", n)
        with open_audio(str(path)) as audio:
            return samples_of(audio)

    np.testing.assert_array_equal(samples(5000), samples(40_000))
    # An MP3's last bit depends on whether its decoder was sent to the start, as soundfile does.
    expected, _ = soundfile.read(path, dtype="float32", always_2d=True)
    np.testing.assert_allclose(samples(5000), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("container", ["WAVEX", "RF64", "W64", "AIFF", "AU", "CAF"])
@pytest.mark.parametrize("subtype", ["PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAW", "ULAW"])
def test_every_sample_format_of_the_other_containers_is_the_notebooks_row(tmp_path, container, subtype):
    if not soundfile.check_format(container, subtype):
        pytest.skip("there is no such file")
    assert check(written(tmp_path, container, subtype, noise(9000))).max() > 0.99


@pytest.mark.parametrize(("container", "subtype"), [("FLAC", "PCM_S8"), ("FLAC", "PCM_24"), ("AIFF", "PCM_S8")])
def test_the_other_depths_of_flac_and_aiff_are_the_notebooks_rows(tmp_path, container, subtype):
    assert check(written(tmp_path, container, subtype, noise(9000))).max() > 0.99


@pytest.mark.parametrize("n_channels", range(1, 9))
@pytest.mark.parametrize("sr", [16000, 44100])
def test_one_to_eight_channels_are_mixed_to_their_mean(tmp_path, n_channels, sr):
    check(written(tmp_path, "WAV", "PCM_16", noise(9000, n_channels), sr))


@pytest.mark.parametrize("sr", [8000, 11025, 16000, 22050, 32000, 37800, 44100, 48000, 88200, 96000, 176400, 192000])
@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_rates_from_8_to_192_khz_are_the_notebooks_rows(tmp_path, sr, subtype):
    check(written(tmp_path, "WAV", subtype, noise(sr), sr))


@pytest.mark.parametrize("n_channels", [9, 10, 64])
@pytest.mark.parametrize("sr", [16000, 44100, 197_368])
def test_more_channels_and_higher_rates_than_most_formats_hold_are_the_notebooks_rows(tmp_path, n_channels, sr):
    check(written(tmp_path, "WAV", "PCM_16", noise(sr // 4, n_channels), sr))


@pytest.mark.parametrize("n_samples", [1, 2, 100, 511, 512, 513, 1023, 1024])
@pytest.mark.parametrize("sr", [8000, 16000, 44100])
def test_a_clip_shorter_than_a_frame_is_the_notebooks_row(tmp_path, n_samples, sr):
    check(written(tmp_path, "WAV", "PCM_16", noise(n_samples), sr))


@pytest.mark.parametrize("n_frames", [127, 128, 129, 130, 256, 257])
@pytest.mark.parametrize("extra", [0, HOP - 1])
def test_around_the_width_of_the_spectrogram_every_length_is_the_notebooks_row(tmp_path, n_frames, extra):
    n_samples = (n_frames - 1) * HOP + extra
    assert n_frames_of(n_samples, MelSettings()) == n_frames
    check(written(tmp_path, "WAV", "PCM_16", noise(n_samples)))


def test_ten_minutes_are_the_notebooks_row(tmp_path):
    check(written(tmp_path, "WAV", "PCM_16", noise(600 * 8000), 8000))


@pytest.mark.parametrize("level", [0.25, 1.0, -1.0])
def test_a_constant_is_the_notebooks_row(tmp_path, level):
    assert check(written(tmp_path, "WAV", "FLOAT", np.full((9000, 1), level))).any()


@pytest.mark.parametrize("gain", [50, 1e4])
def test_a_clipped_recording_is_the_notebooks_row(tmp_path, gain):
    check(written(tmp_path, "WAV", "PCM_16", np.clip(gain * noise(9000), -1, 1)))


@pytest.mark.parametrize("gain", [1e-7, 20, 1e6])
def test_floats_far_below_and_above_full_scale_are_the_notebooks_row(tmp_path, gain):
    path = tmp_path / "clip.wav"
    path.write_bytes(wav((gain * noise(9000)[:, 0]).astype(np.float32), tag=3))
    check(path)


@pytest.mark.parametrize(("container", "subtype"), [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_16")])
def test_silence_is_a_clip_of_zeros_and_reported_as_silent(tmp_path, container, subtype):
    for name in ("dog", "cat", "bird"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "sound.wav").write_bytes(wav(pcm16(seed=ord(name[0]))))
    silent = written(tmp_path / "cat", container, subtype, np.zeros((9000, 1)))
    assert not check(silent).any()
    result = build(tmp_path, tmp_path / "features.h5")
    report = as_json(result)
    assert (report["n_clips"], report["n_silent"], report["rejected"]) == (4, 1, [])
    assert not result.cache.X[result.cache.paths.index(f"cat/{silent.name}")].any()


def integers(rng, n_samples, n_bytes):
    """Random integers of so many bytes, the extremes among them."""
    samples = [rng.randbytes(n_bytes) for _ in range(n_samples)]
    for extreme in (
        b"\0" * n_bytes,
        b"\xff" * n_bytes,
        b"\0" * (n_bytes - 1) + b"\x80",
        b"\xff" * (n_bytes - 1) + b"\x7f",
    ):
        if samples:
            samples[rng.randrange(len(samples))] = extreme
    return np.frombuffer(b"".join(samples), f"V{n_bytes}")


def with_chunk(data, name, body, at=36):
    """The same WAV with one more chunk, which follows the format if it is not told where."""
    return resized(data[:at] + name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2) + data[at:])


def resized(data):
    """The same WAV with a header that says how long it is."""
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]


NAMES = [
    b"LIST",
    b"fact",
    b"PEAK",
    b"JUNK",
    b"FLLR",
    b"bext",
    b"iXML",
    b"id3 ",
    b"cue ",
    b"smpl",
    b"data",
    b"fmt ",
    b"abcd",
]
BODIES = [
    b"",
    b"INFO",
    b"INFOISFT\x0e\0\0\0Lavf59.27.100\0",
    b"INFOICMT\xff\0\0\0",
    b"adtl",
    b"adtllabl\x08\0\0\0",
    b"exif",
]


N_PLAIN_WAVS = amount(4_000, 12_000)


def plain_wavs(rng):
    """WAVs of integers and floats, all lengths and channel counts, as they are, with chunks more, and damaged."""
    for _ in range(N_PLAIN_WAVS):
        n_channels = rng.choice([1, 1, 2, 3, 8, 9])
        y, tag = integers(rng, rng.randint(0, 40) * n_channels, rng.randint(1, 4)), 1
        if rng.random() < 0.3:
            y, tag = np.array([rng.uniform(-2, 2) for _ in range(len(y))], np.float32), 3
        data = wav(y, tag, rng.choice([8000, 16000, 44100, 999, 1_000_001]), n_channels)
        if len(data) % 2 and rng.random() < 0.9:
            data = resized(data + b"\0")
        for _ in range(rng.choice([0, 0, 1, 2])):
            body = rng.choice(BODIES) + rng.randbytes(rng.choice([0, 0, 4, 8 + 8 * n_channels, rng.randint(0, 60)]))
            data = with_chunk(data, rng.choice(NAMES), body, rng.choice([36, len(data)]))
        if rng.random() < 0.1:
            data = resized(data[:-1])
        match rng.randint(0, 9):
            case 1:
                data = data[: rng.randint(0, len(data))]
            case 2:
                data += bytes(rng.randint(1, 9))
            case 3:
                at = rng.randrange(len(data))
                data = flipped(data, at, at + rng.randint(1, 2))
            case 4 | 5:
                at = rng.randrange(44)
                data = data[:at] + bytes([rng.choice([0, 1, 2, 3, 4, 8, 16, 24, 32, 255])]) + data[at + 1 :]
        yield data


def test_the_fast_reader_takes_nothing_that_libsndfile_reads_otherwise(tmp_path, monkeypatch):
    path = tmp_path / "clip.wav"
    n_taken = {f"WAV/{kind}": 0 for kind in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT")}
    n_left = 0
    for data in plain_wavs(random.Random(0)):
        plain = plain_wav(data)
        if plain is None:
            n_left += 1
            continue
        path.write_bytes(data)
        try:
            expected, sr = soundfile.read(path, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            # It loses its way in a damaged list of remarks; the samples are whole.
            assert b"LIST" in data
            continue
        n_taken[plain.format] += 1
        described = soundfile.info(path)
        assert (plain.sr, plain.format) == (sr, f"{described.format}/{described.subtype}")
        for n_samples in (7, 1000):
            monkeypatch.setattr("featurize.audio.decode.BLOCK_SAMPLES", n_samples * plain.n_channels)
            np.testing.assert_array_equal(samples_of(plain), expected)
    # All ways are taken often enough to mean something.
    assert min(n_taken.values()) > N_PLAIN_WAVS / 40
    assert n_left > N_PLAIN_WAVS / 40


@pytest.mark.parametrize("n_samples", [20, 21])
@pytest.mark.parametrize("n_bytes", [1, 2, 3, 4])
@pytest.mark.parametrize("n_channels", range(1, 9))
def test_the_fast_reader_takes_every_plain_wav(n_channels, n_bytes, n_samples):
    plain = plain_wav(wav(integers(random.Random(0), n_samples * n_channels, n_bytes), n_channels=n_channels))
    assert plain is not None
    assert samples_of(plain).shape == (plain.n_samples, plain.n_channels) == (n_samples, n_channels)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT"])
@pytest.mark.parametrize("n_samples", [1000, 1001])
@pytest.mark.parametrize(
    ("name", "body", "where"),
    [
        (b"LIST", b"INFOISFT\x0e\0\0\0Lavf59.27.100\0", "before"),
        (b"LIST", b"INFOICMT\x03\0\0\0an\0\0", "behind"),
        (b"FLLR", bytes(4044), "before"),
        (b"bext", bytes(602), "before"),
        (b"iXML", b"<BWFXML></BWFXML>", "behind"),
        (b"id3 ", b"ID3\x03" + bytes(11), "behind"),
    ],
)
def test_the_fast_reader_takes_wavs_as_converters_and_recorders_write_them(
    tmp_path, monkeypatch, subtype, n_samples, name, body, where
):
    path = written(tmp_path, "WAV", subtype, noise(n_samples))
    data = path.read_bytes()
    data = with_chunk(data, name, body, 36 if where == "before" else len(data))
    path.write_bytes(data)
    plain = plain_wav(data)
    assert plain is not None
    expected, _ = soundfile.read(path, dtype="float32", always_2d=True)
    monkeypatch.setattr("featurize.audio.decode.BLOCK_SAMPLES", 300)
    np.testing.assert_array_equal(samples_of(plain), expected)


@pytest.mark.parametrize("n_bytes", [1, 2, 3, 4])
def test_a_plain_wav_with_a_sample_rate_of_no_recorder_is_refused(tmp_path, n_bytes):
    (tmp_path / "clip.wav").write_bytes(wav(integers(random.Random(0), 20, n_bytes), sr=999))
    with pytest.raises(ClipError, match="999 Hz"):
        featurize_clip(tmp_path / "clip.wav")


@pytest.fixture
def asked(monkeypatch):
    """The inodes of the files that the system is asked to read."""
    advise = getattr(os, "posix_fadvise", None)
    if advise is None:
        pytest.skip("this system cannot be asked")
    inodes = []

    def ask(file, start, n_bytes, advice):
        assert (start, advice) == (0, os.POSIX_FADV_WILLNEED)
        inodes.append(os.fstat(file).st_ino)
        advise(file, start, n_bytes, advice)

    monkeypatch.setattr(os, "posix_fadvise", ask)
    return inodes


def not_in_memory(file, buffers, offset, flags):
    assert flags == os.RWF_NOWAIT
    raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")


def test_files_are_asked_for_before_they_are_opened_and_what_is_wrong_with_one_is_said_later(
    tmp_path, monkeypatch, asked
):
    paths = [str(written(tmp_path, container, "PCM_16", noise(9000))) for container in ("WAV", "FLAC")]
    monkeypatch.setattr(os, "preadv", not_in_memory)
    os.mkfifo(tmp_path / "pipe")
    read_ahead([str(tmp_path / "absent.wav"), str(tmp_path / "pipe"), str(tmp_path), *paths])
    assert asked[-2:] == [Path(path).stat().st_ino for path in paths]


def test_files_in_memory_are_not_asked_for(tmp_path, monkeypatch, asked):
    path = str(written(tmp_path, "WAV", "PCM_16", noise(9000)))
    monkeypatch.setattr(os, "preadv", lambda file, buffers, offset, flags: 1)
    read_ahead([path] * 20)
    assert asked == []
