"""python -m tests.bench: measure both sides of every claim in one run and print a Markdown table."""

import argparse
import datetime
import platform
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tests.bench import featurizing, predicting, training
from tests.bench.measure import machine

ROWS = {**featurizing.ROWS, **training.ROWS, **predicting.ROWS}
VERSIONS_OF = ("numpy", "scipy", "librosa", "soxr", "soundfile", "h5py", "tensorflow", "keras", "torch")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("rows", nargs="*", help=f"which to measure, of {', '.join(ROWS)}; all by default")
    parser.add_argument("--pairs", type=int, default=5, help="how often each pair is measured (5)")
    parser.add_argument("--clips", type=Path, help="folder of real one-second clips in dog, cat and bird")
    parser.add_argument("--scratch", type=Path, help="folder to keep the clips in that are made (a temporary one)")
    arguments = parser.parse_args()
    unknown = set(arguments.rows) - set(ROWS)
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as temporary:
        scratch = arguments.scratch or Path(temporary)
        scratch.mkdir(parents=True, exist_ok=True)
        report(arguments.rows or list(ROWS), featurizing.Set(scratch, arguments.clips, arguments.pairs))


def report(names: list[str], given: "featurizing.Set") -> None:
    kind = "real" if given.real else "synthetic"
    print(
        f"{datetime.date.today()}, {machine()}, Python {platform.python_version()}, {kind} one-second clips,", end=" "
    )
    print(f"medians of {given.n_pairs} alternating pairs; {', '.join(_versions())}\n")
    print("| what | ours | theirs | ratio (least to greatest) | wanted |")
    print("|---|---|---|---|---|")
    for name in names:
        for line in ROWS[name](given):
            print(line, flush=True)


def _versions() -> Iterator[str]:
    for name in VERSIONS_OF:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            continue


if __name__ == "__main__":
    main()
