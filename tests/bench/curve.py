"""python -m tests.bench.curve CACHE LIST OUT: errors against time, by compact's recipe and an earlier one.

The code of 2026-11-28 must be able to read CACHE, so that code has to make it.
LIST names the clips that are held back and scored after every epoch, which is not counted; OUT is the picture.
"""

import argparse
import tempfile
from pathlib import Path

from matplotlib.figure import Figure

from tests import ROOT
from tests.bench.measure import earlier, run
from tests.bench.training import EARLIER


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.curve", description=__doc__)
    parser.add_argument("cache", type=Path)
    parser.add_argument("list", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    with tempfile.TemporaryDirectory() as scratch:
        for code, name, epochs in (
            (earlier(Path(scratch), EARLIER), "as on 2026-11-28, 54 epochs", 54),
            (ROOT, "as it is, 32 epochs", 32),
        ):
            if code is None:
                continue
            printed = run(
                *("-m", "tests.bench.compact", "ours", str(given.cache.absolute())),
                *("--epochs", str(epochs), "--test-list", str(given.list.absolute())),
                code=code,
            )
            seconds, accuracies = zip(*(map(float, line.split()) for line in printed.splitlines()), strict=True)
            axes.plot(seconds, [100 * (1 - accuracy) for accuracy in accuracies], marker=".", label=name)
            print(f"{name}: {accuracies[-1]:.2%} after {seconds[-1]:.0f} s")
    axes.set(xlabel="seconds, on two idle cores", ylabel="errors, %", yscale="log", xlim=(0, None))
    axes.set_yticks([1, 2, 5, 10, 20, 50, 100], [1, 2, 5, 10, 20, 50, 100])
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(given.out, dpi=120)


if __name__ == "__main__":
    main()
