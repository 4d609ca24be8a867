"""python -m tests.bench.scale: how time and memory grow with the number of clips, and what one writer can take."""

import argparse
import contextlib
import datetime
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from tests.bench import clips
from tests.bench.measure import machine, peak_anonymous, peak_memory, printed, seconds

SIZES = (2_000, 20_000, 200_000)
FITS = ("-m", "tests.bench.fits")
N_STEPS = 200
N_WRITER_BATCHES, N_WRITER_ROWS = 1_000, 32


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scale", description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, help=f"numbers of clips ({' '.join(map(str, SIZES))})")
    parser.add_argument("--clips", type=Path, help="folder of real one-second clips in dog, cat and bird")
    parser.add_argument("--scratch", type=Path, help="folder to keep the clips in that are made (a temporary one)")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32", help="of the cache (float32)")
    arguments = parser.parse_args()
    sizes = tuple(arguments.sizes) or SIZES
    with tempfile.TemporaryDirectory() as temporary:
        scratch = arguments.scratch or Path(temporary)
        scratch.mkdir(parents=True, exist_ok=True)
        report(sizes, scratch, arguments.clips, arguments.dtype)


def report(sizes: tuple[int, ...], scratch: Path, real: Path | None, dtype: str) -> None:
    kind = "real" if real else "synthetic"
    print(f"{datetime.date.today()}, {machine()}, Python {platform.python_version()}, links to {kind} clips, {dtype}\n")
    columns = [measure(n_clips, scratch, real, dtype) for n_clips in sizes]
    print("| | " + " | ".join(f"{n:,} clips" for n in sizes) + " | growth |")
    print("|---" * (len(sizes) + 2) + "|")
    for what in columns[0]:
        values = [column[what] for column in columns]
        growth = " ".join(f"x{b / a:.2g}" for a, b in pairwise(values))
        print(f"| {what} | " + " | ".join(f"{value:,.3g}" for value in values) + f" | {growth} |")
    print()
    print(*writer(scratch), sep="\n")


def measure(n_clips: int, scratch: Path, real: Path | None, dtype: str) -> dict[str, float]:
    """Return every figure of one size, by what it is."""
    data = clips.linked(scratch, real, n_clips)
    source = next(scratch.glob("words-*"))
    cache, run = scratch / f"{data.name}.h5", scratch / "scale-run"
    featurize = ("-m", "featurize", str(data), "--cache", str(cache), "--dtype", dtype)
    cache.unlink(missing_ok=True)
    figures: dict[str, float] = {}

    def timed(what: str) -> None:
        figures[f"{what}, s"] = seconds(*featurize)

    timed("cold featurize")
    timed("nothing to do")
    added = clips.link(source, data, range(n_clips, n_clips + n_clips // 100))
    try:
        timed("1 % more clips")
    finally:
        for file in added:
            file.unlink()
    timed("1 % fewer clips")
    cache.unlink()
    figures["memory of featurize, all processes, MB"] = peak_memory(*featurize) / 1e6
    figures["memory of nothing to do, MB"] = peak_memory(*featurize) / 1e6
    figures["cache, MB"] = cache.stat().st_size / 1e6

    def fit(n_steps: int) -> tuple[str, ...]:
        shutil.rmtree(run, ignore_errors=True)
        return (*FITS, "first-steps", str(cache), str(run), str(n_steps))

    figures["train, command to first step, s"] = seconds(*fit(1))
    figures[f"train, command to step {N_STEPS}, s"] = seconds(*fit(N_STEPS))
    figures[f"anonymous memory of train in {N_STEPS} steps, MB"] = peak_anonymous(*fit(N_STEPS)) / 1e6
    figures["open_cache, ms"] = printed("-c", OPENING, str(cache))
    shutil.rmtree(run, ignore_errors=True)
    cache.unlink()
    return figures


OPENING = """
import sys, time
from cache import open_cache
started = time.perf_counter()
open_cache(sys.argv[1])
print(1e3 * (time.perf_counter() - started))
"""


def writer(scratch: Path) -> Iterator[str]:
    """Say what the one writer takes from workers that have their rows ready: a stub instead of a computation."""
    import numpy as np

    from cache.file.columns import ROW_SHAPE, X_DTYPES, Row
    from cache.file.journal import append, close_journal, open_journal

    for dtype in ("float32", "float16"):
        X = np.random.default_rng(0).random((N_WRITER_ROWS, *ROW_SHAPE), np.float32).astype(X_DTYPES[dtype])
        file = scratch / "writer.h5"
        journal, _ = open_journal(file, {"stub": dtype}, X_DTYPES[dtype])
        started = time.perf_counter()
        for batch in range(N_WRITER_BATCHES):
            rows = [
                Row(
                    f"dog/{batch:06}-{i:02}.wav", 32044, batch, f"{batch:032x}{i:032x}", 32, 1.0, 16000, "WAV/PCM_16", i
                )
                for i in range(N_WRITER_ROWS)
            ]
            append(journal, rows, X)
        elapsed = time.perf_counter() - started
        n_rows, n_bytes = N_WRITER_BATCHES * N_WRITER_ROWS, N_WRITER_BATCHES * X.nbytes
        close_journal(journal)
        for name in (journal.rows_path, journal.journal_path):
            with contextlib.suppress(FileNotFoundError):
                name.unlink()
        yield f"One writer, {dtype}: {n_rows / elapsed:,.0f} rows/s, {n_bytes / elapsed / 1e6:,.0f} MB/s.\n"


if __name__ == "__main__":
    main()
