"""Write class folders of synthetic barks, meows and chirps, so that everything can be tried without a recording.

The clips are computed from formulas, no animal was recorded. Each class has a sound of its own; whatever else tells
recordings apart (length, level, onset, noise, channels, sample rate, file format) is drawn alike for every class.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

Waveform = npt.NDArray[np.floating]

SAMPLE_RATES = (8000, 11025, 16000, 22050, 32000, 44100, 48000)
FORMATS = (
    ("wav", "WAV", "PCM_16"),
    ("wav", "WAV", "PCM_24"),
    ("wav", "WAV", "FLOAT"),
    ("flac", "FLAC", "PCM_16"),
    ("ogg", "OGG", "VORBIS"),
    ("mp3", "MP3", "MPEG_LAYER_III"),
    ("aiff", "AIFF", "PCM_16"),
    ("au", "AU", "PCM_16"),
)

NOTICE = "These clips are synthetic: computed from formulas, not recorded. A score on them says nothing about animals."


def bark(rng: np.random.Generator, sr: int) -> Waveform:
    """Return one bark, shape (n_samples,): a burst of noise and falling pulses through the resonances of a muzzle.

    It lasts 0.1 to 0.3 s, and its peak is 1. Pitch, size of the dog and length are drawn from `rng`.
    """
    t = np.arange(int(rng.uniform(0.1, 0.3) * sr)) / sr
    f0 = rng.uniform(180, 600) * np.exp(-rng.uniform(0.5, 3.0) * t)
    pulses = np.cos(2 * np.pi * np.cumsum(f0) / sr) ** 7
    source = pulses + rng.uniform(0.3, 1.5) * rng.standard_normal(len(t))
    size = rng.uniform(0.7, 1.5)
    formants = [(600 / size, 1.0), (1300 / size, 0.7), (2700 / size, 0.35)]
    spectrum = np.fft.rfft(source) * _resonances(np.fft.rfftfreq(len(t), 1 / sr), formants, sharpness=4.0)
    body = np.tanh(2 * _unit_peak(np.fft.irfft(spectrum, len(t))))
    return _unit_peak(body * np.minimum(t / 0.008, 1) * np.exp(-rng.uniform(5, 20) * t))


def meow(rng: np.random.Generator, sr: int) -> Waveform:
    """Return one meow: harmonics that glide up and down while the mouth opens and shuts.

    Parameters and the returned array are those of `bark`; it lasts 0.4 to 1.2 s.
    """
    t = np.linspace(0, 1, int(rng.uniform(0.4, 1.2) * sr))
    arch = np.sin(np.pi * t ** rng.uniform(0.5, 1.2))
    f0 = rng.uniform(260, 620) * (1 + rng.uniform(0.15, 0.8) * arch) * (1 - rng.uniform(0, 0.3) * t)
    f0 *= 1 + 0.01 * np.sin(2 * np.pi * rng.uniform(4, 9) * t)
    phase = 2 * np.pi * np.cumsum(f0) / sr
    opening = rng.uniform(700, 1100) + rng.uniform(500, 1500) * arch
    y = np.zeros_like(t)
    for k in range(1, 16):
        loudness = _resonances(k * f0, [(opening, 1.0), (3200.0, 0.3)], sharpness=2.5) / k**0.5
        y += np.where(k * f0 < 0.45 * sr, loudness, 0) * np.sin(k * phase)
    y += rng.uniform(0, 0.05) * rng.standard_normal(len(t))
    return _unit_peak(y * np.minimum(t / 0.1, 1) * np.minimum((1 - t) / 0.2, 1))


def chirp(rng: np.random.Generator, sr: int) -> Waveform:
    """Return one phrase of chirps: 2 to 6 whistles, each swept over part of the range from 1.8 to 7 kHz.

    Parameters and the returned array are those of `bark`; it lasts 0.1 to 1.1 s.
    """
    highest = min(7000, 0.45 * sr)
    start, stop = np.exp(rng.uniform(np.log(1800), np.log(highest), 2))
    seconds, pause = rng.uniform(0.04, 0.13), rng.uniform(0.02, 0.05)
    t = np.linspace(0, 1, int(seconds * sr))
    trill = 1 + rng.uniform(0, 0.06) * np.sin(2 * np.pi * rng.uniform(1, 4) * t)
    frequency = np.minimum(start * (stop / start) ** t * trill, highest)
    note = np.sin(2 * np.pi * np.cumsum(frequency) / sr) * np.sin(np.pi * t) ** 2
    with_pause = np.append(note, np.zeros(int(pause * sr)))
    return _unit_peak(np.tile(with_pause, rng.integers(2, 7)))


CALLS: dict[str, Callable[[np.random.Generator, int], Waveform]] = {"dog": bark, "cat": meow, "bird": chirp}


def _resonances(frequency: Waveform, peaks: Sequence[tuple[Waveform | float, float]], sharpness: float) -> Waveform:
    """Sum of Lorentz curves over `frequency` in Hz: (centre in Hz, height) each, as wide as centre / sharpness."""
    total = np.zeros(len(frequency))
    for centre, height in peaks:
        total += height / (1 + (2 * sharpness * (frequency / centre - 1)) ** 2)
    return total


def _unit_peak(y: Waveform) -> Waveform:
    scaled: Waveform = y / np.abs(y).max()
    return scaled


@dataclass(frozen=True)
class Recording:
    """How a clip was "recorded"; none of it depends on the class."""

    sr: int  # sample rate in Hz
    seconds: float  # length of the clip
    onset: float  # when the first call starts, in seconds
    # Half way between RMS and peak of the whole clip, in dB relative to full scale: calls differ in how far these are
    # apart, and neither shall tell the class.
    level: float
    snr: float  # power of the calls over that of the noise, in dB
    colour: float  # exponent of the noise's power spectrum: 0 white, -1 pink, -2 brown
    hum: float  # amplitude of the mains' hum beside the noise's RMS
    n_channels: int  # 1 or 2; the second channel is a little later and quieter


def draw_recording(rng: np.random.Generator, sr: int) -> Recording:
    """Draw how a clip is recorded; lengths from 0.4 to 6 s, so that features are cropped as well as padded."""
    seconds = float(np.exp(rng.uniform(np.log(0.4), np.log(6.0))))
    return Recording(
        sr=sr,
        seconds=seconds,
        onset=float(rng.uniform(0, 0.35) * seconds),
        level=float(rng.uniform(-40, -14)),
        snr=float(rng.uniform(3, 25)),
        colour=float(rng.uniform(-2, 0)),
        hum=float(rng.choice([0.0, 0.5]) * rng.uniform(0, 1)),
        n_channels=int(rng.choice([1, 1, 1, 2])),
    )


def render(label: str, rng: np.random.Generator, recording: Recording) -> Waveform:
    """Compute a clip, shape (n_samples, n_channels), within [-1, 1]: calls of one class until it ends, under noise."""
    sr = recording.sr
    y = np.zeros(int(recording.seconds * sr))
    position = int(recording.onset * sr)
    while position < len(y):
        call = rng.uniform(0.5, 1.0) * CALLS[label](rng, sr)[: len(y) - position]
        y[position : position + len(call)] = call
        position += len(call) + int(rng.uniform(0.1, 0.8) * sr)
    y /= _rms(y)
    y += _background(rng, recording, len(y)) * 10 ** (-recording.snr / 20)
    y *= 10 ** (recording.level / 20) / np.sqrt(_rms(y) * np.abs(y).max())
    y *= min(1.0, 0.98 / np.abs(y).max())
    if recording.n_channels == 1:
        return y[:, np.newaxis]
    return np.stack([y, rng.uniform(0.5, 1.0) * np.roll(y, rng.integers(0, sr // 2000))], axis=1)


def _background(rng: np.random.Generator, recording: Recording, n_samples: int) -> Waveform:
    frequency = np.fft.rfftfreq(n_samples, 1 / recording.sr)
    shape = np.maximum(frequency, 40.0) ** (recording.colour / 2)
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(n_samples)) * shape, n_samples)
    hum = np.sin(2 * np.pi * rng.choice([50, 60]) * np.arange(n_samples) / recording.sr)
    background: Waveform = noise / _rms(noise) + recording.hum * hum
    return background


def _rms(y: Waveform) -> float:
    return float(np.sqrt(np.mean(y**2)))


def write_clips(out: Path, n_per_class: int, seed: int) -> dict[str, int]:
    """Write the clips that are not there yet, and return their number by class; a file that exists is left as it is.

    Clip i of a class depends on the seed, which is not negative, the class and i alone, and so does its name; asking
    for more clips adds to those that are there, and so does another seed.
    """
    n_written = dict.fromkeys(CALLS, 0)
    for label_index, label in enumerate(CALLS):
        folder = out / label
        folder.mkdir(parents=True, exist_ok=True)
        # Dealt like cards, so that every class has every rate and format about as often.
        deck = np.random.default_rng([seed, label_index]).permutation(list(product(range(len(FORMATS)), SAMPLE_RATES)))
        for i in range(n_per_class):
            which, sr = deck[i % len(deck)].tolist()
            suffix, container, encoding = FORMATS[which]
            file = folder / f"synthetic_{label}_s{seed}_{i:03d}.{suffix}"
            if file.exists():
                continue
            rng = np.random.default_rng([seed, label_index, i])
            y = render(label, rng, draw_recording(rng, sr))
            # Under its own name only when it is whole; hidden until then, so that nobody takes it for a clip.
            unfinished = folder / f".{file.name}"
            soundfile.write(unfinished, y, sr, subtype=encoding, format=container)
            unfinished.replace(file)
            n_written[label] += 1
    return n_written


def main() -> None:
    """Read the options, write the clips, say what they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path, default=Path("data/synthetic"), help="where the class folders go")
    parser.add_argument("--n-per-class", type=int, default=40, help="clips a class")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same clips")
    options = parser.parse_args()
    if options.n_per_class < 1 or options.seed < 0:
        parser.error("--n-per-class must be at least 1, and --seed at least 0")
    print(NOTICE)
    try:
        n_written = write_clips(options.out, options.n_per_class, options.seed)
    except (OSError, soundfile.SoundFileError) as error:
        sys.exit(f"{parser.prog}: nothing more can be written under {str(options.out)!r}: {error}")
    for label, n in n_written.items():
        there = options.n_per_class - n
        print(f"{options.out / label}: {n} written" + (f", {there} were there already" if there else ""))


if __name__ == "__main__":
    main()
