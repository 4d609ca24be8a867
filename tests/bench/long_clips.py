"""python -m tests.bench.long_clips FOLDER --clips SHORT: the table of the section "The whole of a long clip".

SHORT holds folders of short clips by class, such as words of Speech Commands, whose names tell the speaker. FOLDER gets
sets of long clips, a short one in each, mixed into noise; every set is cached by every crop and cross-validated on the
same folds, and a row of the table is printed for each.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from typer.testing import CliRunner

from cache import open_cache
from cache.shared.text import human_percent
from featurize.__main__ import app
from train import crossval

SR = 16000
# How loud the noise is against the call.
LEVEL = 10 ** (-10 / 20)
CROPS = ("middle", "segments", "loudest 1")

Noise = np.ndarray
Placed = Callable[[np.random.Generator], tuple[float, list[float]]]


def anywhere(rng: np.random.Generator) -> tuple[float, list[float]]:
    """0.2 to 40 s, half of them under 3 s, with a call somewhere."""
    seconds = float(np.exp(rng.uniform(np.log(0.2), np.log(40))))
    return seconds, [rng.uniform(0, max(0.0, seconds - 1))]


def throughout(rng: np.random.Generator) -> tuple[float, list[float]]:
    """As long, but it calls again every two or three seconds."""
    seconds, (first,) = anywhere(rng)
    return seconds, np.arange(first % 2, max(0.0, seconds - 1) + 1e-9, rng.uniform(2, 3)).tolist()


def at_first(rng: np.random.Generator) -> tuple[float, list[float]]:
    """12 s, with a call that begins within the first half second."""
    return 12.0, [rng.uniform(0, 0.5)]


SETS: dict[str, tuple[str, Placed]] = {
    "throughout": ("0.2 to 40 s, a call every 2 to 3 s", throughout),
    "anywhere": ("0.2 to 40 s, one call anywhere", anywhere),
    "first": ("12 s, one call in its first 1.5 s", at_first),
}


def long_clip(call: Noise, seconds: float, starts: list[float], rng: np.random.Generator) -> Noise:
    """Mix a call into noise of a random colour; of a clip shorter than the call, its middle."""
    n = max(1, round(seconds * SR))
    frequency = np.maximum(np.fft.rfftfreq(n, 1 / SR), 40.0)
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(n)) * frequency ** rng.uniform(-1, 0), n)
    y = LEVEL * call.std() * noise / max(float(noise.std()), 1e-9)
    for start in starts:
        first = round(start * SR)
        part = call[max(0, (len(call) - n) // 2) :][: n - first]
        y[first : first + len(part)] += part
    return y / np.abs(y).max()


def make(data: Path, short: Path, n_per_class: int, placed: Placed) -> Path:
    """Write a set of long clips, under the names of the short ones."""
    rng = np.random.default_rng(0)
    for folder in sorted(path for path in short.iterdir() if path.is_dir()):
        (data / folder.name).mkdir(parents=True, exist_ok=True)
        for file in sorted(folder.glob("*.wav"))[:n_per_class]:
            call, _ = soundfile.read(file)
            soundfile.write(data / folder.name / file.name, long_clip(call, *placed(rng), rng), SR)
    return data


class Measured(NamedTuple):
    """A row of the table: a set by one crop."""

    crop: str
    n_rows: int
    accuracy: float
    interval: tuple[float, float]
    seconds: float

    def line(self, what: str) -> str:
        """Return it as Markdown."""
        low, high = (f"{100 * end:.1f}" for end in self.interval)
        return (
            f"| {what} | `{self.crop}` | {self.n_rows:,} | {human_percent(self.accuracy)} ({low} to {high}) | "
            f"{self.seconds:.0f} s |"
        )


def measured(data: Path, crop: str, n_folds: int, epochs: int | None) -> Measured:
    """Cache a set by a crop and cross-validate `compact` on it."""
    file = data.with_name(f"{data.name}-{crop.replace(' ', '-')}.h5")
    kind, *n = crop.split()
    more = ["--n-windows", *n] if n else []
    done = CliRunner().invoke(app, [str(data), "--classes", "all", "--cache", str(file), "--crop", kind, *more])
    assert done.exit_code == 0, done.output
    options = {} if epochs is None else {"epochs": epochs}
    _, record = crossval(file, file.with_suffix(""), model="compact", n_folds=n_folds, notify=lambda _: None, **options)
    assert record.metrics is not None
    seconds = sum(fold.seconds for fold in record.folds) / len(record.folds)
    return Measured(crop, len(open_cache(file)), record.metrics.accuracy, record.metrics.interval, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.long_clips", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=Path, required=True, help="short clips in class folders")
    parser.add_argument("--per-class", type=int, default=80, help="clips of each class (80)")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="the model's own by default")
    parser.add_argument("--sets", default=",".join(SETS), help=f"of {', '.join(SETS)}")
    given = parser.parse_args()
    print("| clips | `--crop` | rows | accuracy | a fold trained in |\n| --- | --- | --- | --- | --- |", flush=True)
    for name in given.sets.split(","):
        what, placed = SETS[name]
        data = make(given.folder / name, given.clips, given.per_class, placed)
        for crop in CROPS:
            print(measured(data, crop, given.folds, given.epochs).line(what), flush=True)


if __name__ == "__main__":
    main()
