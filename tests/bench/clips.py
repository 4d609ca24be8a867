"""The clips that are measured on, made once in a scratch folder: short words, mixed recordings, one long one."""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import soundfile

from tests.helpers.sounds import mp3_in_wav

CLASSES = ("dog", "cat", "bird")
N_WORDS = 20_000
N_MIXED = 600
LONG_SECONDS = 3600

# The kinds of 20 mixed recordings: WAV of 8 to 32 bit as recorders write it, and four kinds of compression.
KINDS = (
    [("WAV", "PCM_16")] * 8
    + [("WAV", "PCM_24")] * 3
    + [("WAV", "PCM_U8"), ("WAV", "PCM_32"), ("WAV", "FLOAT")]
    + [("FLAC", "PCM_16")] * 2
    + [("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")]
    + [("WAV", "MPEG_LAYER_III")] * 2
)


def _noise(rng: np.random.Generator, seconds: float, sr: int, n_channels: int = 1) -> np.ndarray:
    """Noise whose level rises and falls, so that decibels and encoders have something to do."""
    n_samples = max(1, round(seconds * sr))
    envelope = 0.2 * np.abs(np.sin(np.linspace(0, 6 * np.pi, n_samples))) + 0.01
    y = envelope[:, None] * rng.normal(0, 0.3, (n_samples, n_channels))
    return np.clip(y, -1, 1)


def words(scratch: Path, real: Path | None, n_clips: int = N_WORDS) -> Path:
    """One-second 16 kHz PCM16 WAVs in three classes: copies of real ones if there are any, else of synthetic ones."""
    data = scratch / f"words-{n_clips}"
    if data.exists():
        return data
    beside = data.with_name(data.name + ".unfinished")
    shutil.rmtree(beside, ignore_errors=True)
    rng = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        folder = beside / name
        folder.mkdir(parents=True)
        originals: Sequence[Path] = sorted((real / name).glob("*.wav")) if real else []
        if not originals:
            for i in range(150):
                soundfile.write(folder / f"{i:03}_nohash_0.wav", _noise(rng, 1.0, 16000), 16000, "PCM_16")
            originals = sorted(folder.glob("*.wav"))
        for i in range(len(list(folder.iterdir())), n_clips // 3 + (label < n_clips % 3)):
            original = originals[i % len(originals)]
            shutil.copyfile(original, folder / f"{original.stem}_{i // len(originals)}.wav")
    beside.rename(data)
    return data


def linked(scratch: Path, real: Path | None, n_clips: int) -> Path:
    """So many one-second clips that are links to few files: names and rows enough for any size, on little disk."""
    data = scratch / f"linked-{n_clips}"
    if data.exists():
        return data
    source = words(scratch, real, 60 if real is None else sum(1 for name in CLASSES for _ in (real / name).glob("*")))
    beside = data.with_name(data.name + ".unfinished")
    shutil.rmtree(beside, ignore_errors=True)
    for name in CLASSES:
        (beside / name).mkdir(parents=True)
    link(source, beside, range(n_clips))
    beside.rename(data)
    return data


def link(source: Path, data: Path, numbers: Iterable[int]) -> list[Path]:
    """Add clips of these numbers, the classes in turns; their names lie all over the order of the names."""
    originals = [sorted((source / name).iterdir()) for name in CLASSES]
    made = []
    for number in numbers:
        label = number % len(CLASSES)
        original = originals[label][number // len(CLASSES) % len(originals[label])]
        file = data / CLASSES[label] / f"{number * 2654435761 % 2**32:08x}_{number}.wav"
        file.hardlink_to(original)
        made.append(file)
    return made


def wide(scratch: Path, n_clips: int, seconds: float = 5.0) -> Path:
    """16 kHz PCM16 WAVs that are longer than the spectrogram's 128 frames, in three classes."""
    data = scratch / f"wide-{n_clips}"
    if data.exists():
        return data
    beside = data.with_name(data.name + ".unfinished")
    shutil.rmtree(beside, ignore_errors=True)
    rng = np.random.default_rng(3)
    for i in range(n_clips):
        folder = beside / CLASSES[i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{i:04}.wav", _noise(rng, seconds, 16000), 16000, "PCM_16")
    beside.rename(data)
    return data


def seconds_at(scratch: Path, sr: int, n_clips: int = 300) -> Path:
    """PCM16 WAVs of a second at a sample rate, in three classes."""
    data = scratch / f"seconds-{sr}"
    if data.exists():
        return data
    beside = data.with_name(data.name + ".unfinished")
    shutil.rmtree(beside, ignore_errors=True)
    rng = np.random.default_rng(4)
    for i in range(n_clips):
        folder = beside / CLASSES[i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{i:04}.wav", _noise(rng, 1.0, sr), sr, "PCM_16")
    beside.rename(data)
    return data


def mixed(scratch: Path, n_clips: int = N_MIXED) -> Path:
    """Recordings of 0.2 to 40 s, half of them under 2 s, at 8 to 48 kHz, mono or stereo, of the kinds in KINDS."""
    data = scratch / f"mixed-{n_clips}"
    if data.exists():
        return data
    beside = data.with_name(data.name + ".unfinished")
    shutil.rmtree(beside, ignore_errors=True)
    rng = np.random.default_rng(1)
    for i in range(n_clips):
        folder = beside / CLASSES[i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        container, subtype = KINDS[i % len(KINDS)]
        rates = (8000, 16000, 22050, 44100, 48000) if "MPEG" not in subtype else (16000, 22050, 44100, 48000)
        sr = int(rng.choice(rates))
        seconds = float(np.clip(rng.lognormal(np.log(2), 1), 0.2, 40))
        y = _noise(rng, seconds, sr, n_channels=int(rng.integers(1, 3)))
        file = folder / f"{i:04}.{container.lower()}"
        if (container, subtype) == ("WAV", "MPEG_LAYER_III"):
            file.write_bytes(mp3_in_wav(y, sr))
        else:
            soundfile.write(file, y, sr, subtype=subtype, format=container)
    beside.rename(data)
    return data


def long_recording(scratch: Path, seconds: int = LONG_SECONDS) -> Path:
    """A stereo WAV at 44.1 kHz, written block by block."""
    file = scratch / f"long-{seconds}" / "recording.wav"
    if file.exists():
        return file
    file.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(2)
    beside = file.with_suffix(".unfinished")
    with soundfile.SoundFile(beside, "w", 44100, 2, "PCM_16", format="WAV") as sound:
        for _ in range(0, seconds, 10):
            sound.write(_noise(rng, min(10, seconds), 44100, 2))
    beside.replace(file)
    return file
