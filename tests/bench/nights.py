"""python -m tests.bench.nights FOLDER: the recordings of .docs/field.md.

FOLDER/nights and FOLDER/check hold recordings of ten minutes: calls of data/synthesize.py, mixed into noise, with label
tracks beside them. The last four of the nights have theirs in FOLDER/truth. With --correct, the labels that a model
gave to these four become those that a person would make of them. With --circle, all commands of the section are run.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

from cache.labels.annotation import Region
from cache.labels.read import read_labels
from data.synthesize import CALLS
from tests import ROOT
from train.predict.recordings import LABELS
from train.predict.sinks import label_text
from train.recordings.score import overlapping

SR, SECONDS, N_CALLS = 16000, 600, 30
ENDING = LABELS["audacity"].ENDING
N_LABELLED, N_UNLABELLED, N_CHECK = 3, 4, 4


def recorded(file: Path, track: Path, seed: int) -> None:
    """Write a recording and the labels of its calls, which do not overlap."""
    rng = np.random.default_rng(seed)
    frequency = np.maximum(np.fft.rfftfreq(SR * SECONDS, 1 / SR), 40.0)
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(SR * SECONDS)) * frequency ** rng.uniform(-1, 0))
    y, calls = 0.02 * noise / noise.std(), []
    for start in np.sort(rng.choice(SECONDS // 4 - 1, N_CALLS, replace=False)) * 4 + rng.uniform(0.5, 1.5, N_CALLS):
        name = str(rng.choice(sorted(CALLS)))
        call = CALLS[name](rng, SR)[: 2 * SR]
        y[round(start * SR) :][: len(call)] += 0.02 * 10 ** (rng.uniform(-10, 10) / 20) * call / call.std()
        # As a person marks it, with a little of what is around it.
        before, after = rng.uniform(0.05, 0.4, 2)
        calls.append(Region(start - before, start + len(call) / SR + after, name, 1.0))
    soundfile.write(file, y / np.abs(y).max(), SR)
    track.write_text(label_text("audacity", file.name, calls))


def corrected(said: Path, track: Path) -> tuple[int, int]:
    """Give labels that match a call its name and ends, and drop the rest; return how many there were and are."""
    folder = said.parent
    wrong, true = (read_labels([file], folder).annotations for file in (said, track))
    spans = [np.array([(one.start, one.end) for one in labels]).reshape(-1, 2) for labels in (true, wrong)]
    matched = overlapping(*spans)
    heard = [one for one, is_heard in zip(true, matched.any(axis=1).tolist(), strict=True) if is_heard]
    regions = [Region(one.start, one.end, one.label, 1.0) for one in heard]
    said.write_text(label_text("audacity", "", regions))
    return len(wrong), len(heard)


def make(folder: Path, seed: int) -> None:
    """Write the recordings and their label tracks."""
    nights, check, truth = (folder / name for name in ("nights", "check", "truth"))
    for place in (nights, check, truth):
        place.mkdir(parents=True)
    for i in range(N_LABELLED + N_UNLABELLED):
        tracks = nights if i < N_LABELLED else truth
        recorded(nights / f"night{i}.wav", tracks / f"night{i}.wav{ENDING}", 1000 * seed + i)
    for i in range(N_CHECK):
        recorded(check / f"check{i}.wav", check / f"check{i}.wav{ENDING}", 1000 * seed + 100 + i)


def correct(folder: Path) -> None:
    """Turn the labels that a model gave to the unlabelled nights into those that a person would make of them."""
    n_said = n_kept = 0
    for i in range(N_LABELLED, N_LABELLED + N_UNLABELLED):
        name = f"night{i}.wav{ENDING}"
        said, kept = corrected(folder / "nights" / name, folder / "truth" / name)
        n_said, n_kept = n_said + said, n_kept + kept
    print(f"of {n_said} labels {n_kept} stayed", flush=True)


def circle(folder: Path, seed: int) -> None:
    """Run the commands of the section, and show what they print."""

    def show(command: str) -> None:
        print(f"$ python -m {command}", flush=True)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-m", *command.split()], cwd=folder, env=environment, check=True)

    fit = f"train fit nights/features.h5 --model compact --val 0.25 --test 0.25 --seed {seed} --run runs/"
    evaluate = "train evaluate --recordings check --labels check runs/"
    unlabelled = " ".join(f"nights/night{i}.wav" for i in range(N_LABELLED, N_LABELLED + N_UNLABELLED))
    show("featurize nights --labels nights --background 30")
    show(f"{fit}round1")
    show(f"{evaluate}round1 --keep-thresholds")
    show(f"train predict runs/round1 {unlabelled} --threshold auto --format audacity --out nights")
    correct(folder)
    show("featurize nights")
    show(f"{fit}round2")
    for option in ("", " --keep-thresholds", ""):
        show(f"{evaluate}round2{option}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.nights", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="other recordings, and other weights to begin with")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--correct", action="store_true", help="only correct the labels that a model gave")
    choice.add_argument("--circle", action="store_true", help="run all commands of the section, in some minutes")
    given = parser.parse_args()
    if given.correct:
        correct(given.folder)
        return
    make(given.folder, given.seed)
    if given.circle:
        circle(given.folder, given.seed)


if __name__ == "__main__":
    main()
