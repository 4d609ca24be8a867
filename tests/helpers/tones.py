"""Clips of three classes that a network tells apart at once, and the smallest clips that are clips at all."""

from pathlib import Path

import numpy as np
import soundfile

PITCHES = {"dog": 300.0, "cat": 900.0, "bird": 2700.0}
N_SPEAKERS = 8
N_TAKES = 2


def write_clips(data: Path, seed: int, n_speakers: int = N_SPEAKERS) -> Path:
    """Noisy half-second square waves, a pitch a class: DATA/<class>/<speaker>_nohash_<take>.wav."""
    rng = np.random.default_rng(seed)
    t = np.arange(8000) / 16000
    for name, pitch in PITCHES.items():
        (data / name).mkdir(parents=True)
        for speaker in range(n_speakers):
            for take in range(N_TAKES):
                y = np.sign(np.sin(2 * np.pi * pitch * rng.uniform(0.9, 1.1) * t)) + rng.normal(0, 0.3, len(t))
                soundfile.write(data / name / f"{seed}s{speaker}_nohash_{take}.wav", 0.2 * y, 16000)
    return data


def tone(name: str, seconds: float, seed: int = 0) -> np.ndarray:
    """A sound as in the clips of `write_clips`, but of any length."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(16000 * seconds)) / 16000
    return 0.2 * (np.sign(np.sin(2 * np.pi * PITCHES[name] * t)) + rng.normal(0, 0.3, len(t)))


def write_tiny_clips(data: Path, n_per_class: int) -> Path:
    """A twentieth of a second of noise each: DATA/<class>/<number>.wav."""
    rng = np.random.default_rng(0)
    for name in PITCHES:
        (data / name).mkdir(parents=True)
        for i in range(n_per_class):
            soundfile.write(data / name / f"{i:02}.wav", rng.normal(0, 0.1, 800).clip(-1, 1), 16000)
    return data
