"""The rows of the benchmark that are about train."""

import os
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from tests import ROOT
from tests.bench import clips
from tests.bench.featurizing import Set
from tests.bench.measure import Pair, earlier, in_turns, peak_anonymous, printed, run, seconds

FITS = ("-m", "tests.bench.fits")
COMPACT = ("-m", "tests.bench.compact")
# The code of 2026-11-28: `compact` has a third as many filters again, and `crossval` is one process.
EARLIER = "40d9e17"
# PyTorch's threads, and the processes that prepare its batches.
TORCH_SETTINGS = ((2, 1), (2, 0), (1, 1))

N_SHORT = 600  # clips of the caches that rates are measured on
N_WIDE = 300  # clips of a whole fit that fill all columns
N_FEW, N_MANY = 200, clips.N_WORDS


def _line(what: str, pair: Pair, unit: str, wanted: str) -> str:
    ours, theirs = f"{pair.ours:,.3g} {unit}", f"{pair.theirs:,.3g} {unit}"
    return f"| {what} | {ours} | {theirs} | {pair.ratio:.2f} ({pair.least:.2f} to {pair.greatest:.2f}) | {wanted} |"


def _cache(given: Set, data: Path) -> Path:
    file = given.scratch / f"{data.name}.h5"
    run("-m", "featurize", str(data), "--cache", str(file))
    return file


def _words(given: Set, n_clips: int = N_SHORT) -> Path:
    return _cache(given, clips.words(given.scratch, given.real, n_clips))


def _wide(given: Set) -> Path:
    return _cache(given, clips.wide(given.scratch, N_SHORT))


def _against(given: Set, cache: Path, kind: str, notebook: str, torch: str) -> Iterator[str]:
    pair = in_turns(
        lambda: printed(*FITS, "ours", str(cache)), lambda: printed(*FITS, "notebook", str(cache)), given.n_pairs
    )
    yield _line(f"baseline on {kind} / the notebook's model.fit", pair, "samples/s", f"at least {notebook}")
    if find_spec("torch") is None:
        yield f"| baseline on {kind} / PyTorch | | | skipped: torch is not installed | |"
        return
    n_threads = max({1, os.cpu_count() or 1}, key=lambda n: printed(*FITS, "torch", str(cache), str(n)))
    pair = in_turns(
        lambda: printed(*FITS, "ours", str(cache)),
        lambda: printed(*FITS, "torch", str(cache), str(n_threads)),
        given.n_pairs,
    )
    yield _line(f"baseline on {kind} / PyTorch, {n_threads} threads", pair, "samples/s", f"at least {torch}")


def training(given: Set) -> Iterator[str]:
    """Clips of one second, which fill a quarter of the columns."""
    yield from _against(given, _words(given), "one-second clips", "3", "1.4")


def training_wide(given: Set) -> Iterator[str]:
    """Clips that fill all columns."""
    yield from _against(given, _wide(given), "clips that fill all columns", "1.2", "0.9")


def _fit_seconds(side: str, cache: Path, epochs: int, *more: str) -> float:
    *_, seconds, _ = run(*COMPACT, side, str(cache), "--epochs", str(epochs), *more).split()
    return float(seconds)


def _against_torch(cache: Path, kind: str, n_pairs: int, epochs: int) -> Iterator[str]:
    """A fit, building and input included, against half as many epochs again in PyTorch, which make more errors."""
    if find_spec("torch") is None:
        yield f"| compact, {kind} / PyTorch | | | skipped: torch is not installed | |"
        return
    settings = [("--threads", str(n), "--workers", str(m)) for n, m in TORCH_SETTINGS]
    best = min(settings, key=lambda more: _fit_seconds("torch", cache, 3, *more))
    pair = in_turns(
        lambda: _fit_seconds("ours", cache, epochs),
        lambda: _fit_seconds("torch", cache, epochs * 3 // 2, *best),
        n_pairs,
    )
    what = f"compact, {epochs} epochs, {kind} / PyTorch, {epochs * 3 // 2} epochs, {' '.join(best)}"
    yield _line(what, pair, "s", "at most 0.7")


def compact(given: Set) -> Iterator[str]:
    """Fits of compact on clips of one second, against PyTorch."""
    yield from _against_torch(_words(given), "one-second clips", given.n_pairs, epochs=24)


def compact_wide(given: Set) -> Iterator[str]:
    """The same on clips that fill all columns; a third of the epochs, which are all alike."""
    yield from _against_torch(_wide(given), "clips that fill all columns", given.n_pairs, epochs=8)


def _against_earlier(given: Set, data: Path, what: str, command: str, wanted: str) -> Iterator[str]:
    """Whole commands with all their defaults, against those of the earlier code, on the cache that it makes."""
    code = earlier(given.scratch, EARLIER)
    if code is None:
        yield f"| {what} / by the code of 2026-11-28 | | | skipped: there is no history | |"
        return
    cache, folder = given.scratch / f"{data.name}-{EARLIER}.h5", given.scratch / "run"
    run("-m", "featurize", str(data), "--cache", str(cache), code=code)

    def by(code: Path) -> float:
        shutil.rmtree(folder, ignore_errors=True)
        options = ("--model", "compact", "--run", str(folder), "--quiet")
        return seconds("-m", "train", command, str(cache), *options, code=code)

    pair = in_turns(lambda: by(ROOT), lambda: by(code), given.n_pairs)
    yield _line(f"{what} / by the code of 2026-11-28", pair, "s", wanted)
    shutil.rmtree(folder, ignore_errors=True)


def fit_before(given: Set) -> Iterator[str]:
    """A whole fit of compact on clips of one second, and its report, against the code of 2026-11-28."""
    data = clips.words(given.scratch, given.real, N_SHORT)
    yield from _against_earlier(given, data, "a fit of compact on 600 one-second clips", "fit", "at most 0.5")


def fit_before_wide(given: Set) -> Iterator[str]:
    """The same on clips that fill all columns."""
    data = clips.wide(given.scratch, N_WIDE)
    yield from _against_earlier(given, data, f"a fit of compact on {N_WIDE} clips of all columns", "fit", "at most 0.5")


def folds_before(given: Set) -> Iterator[str]:
    """Five folds in as many processes as suit them against one process of the code of 2026-11-28."""
    data = clips.words(given.scratch, given.real, N_SHORT)
    what = "five folds of compact on 600 one-second clips"
    yield from _against_earlier(given, data, what, "crossval", "at most 0.45")


def folds(given: Set) -> Iterator[str]:
    """Five folds of compact, whole commands, in as many processes as suit them against one."""
    cache, folder = _words(given), given.scratch / "folds"

    def crossval(*jobs: str) -> float:
        shutil.rmtree(folder, ignore_errors=True)
        options = ("--model", "compact", "--epochs", "12", "--quiet", *jobs)
        return seconds("-m", "train", "crossval", str(cache), "--run", str(folder), *options)

    pair = in_turns(crossval, lambda: crossval("--jobs", "1"), given.n_pairs)
    yield _line("five folds of compact, 12 epochs / the same with --jobs 1", pair, "s", "under 1")
    shutil.rmtree(folder, ignore_errors=True)


def starting(given: Set) -> Iterator[str]:
    """From the command to the end of its first optimiser step against the import of TensorFlow alone."""
    cache, folder = _words(given), given.scratch / "first-step"

    def first_step() -> float:
        shutil.rmtree(folder, ignore_errors=True)
        return seconds(*FITS, "first-steps", str(cache), str(folder))

    pair = in_turns(first_step, lambda: seconds("-c", "import tensorflow"), given.n_pairs)
    yield _line("command to first optimiser step / importing TensorFlow", pair, "s", "at most 1.3")
    shutil.rmtree(folder, ignore_errors=True)


def feeding(given: Set) -> Iterator[str]:
    """How fast batches come from the map of 20,000 rows, and how fast the model takes them."""
    many = _words(given, N_MANY)
    pair = in_turns(
        lambda: printed(*FITS, "batches", str(many)), lambda: printed(*FITS, "ours", str(many)), given.n_pairs
    )
    yield _line("batches from the map / training on them", pair, "samples/s", "over 20")


def reading(given: Set) -> Iterator[str]:
    """An epoch of compact on rows that are not in memory, against rows that are, and against rows not asked ahead."""
    many = _words(given, N_MANY)

    def rate(where: str) -> float:
        return printed(*FITS, "epoch", str(many), where)

    pair = in_turns(lambda: rate("disk"), lambda: rate("memory"), given.n_pairs)
    yield _line("an epoch on rows on disk / in memory", pair, "samples/s", "at least 0.95")
    pair = in_turns(lambda: rate("disk"), lambda: rate("disk-unasked"), given.n_pairs)
    yield _line("an epoch on rows on disk / not asked ahead", pair, "samples/s", "over 1")


def fitting(given: Set) -> Iterator[str]:
    """Greatest anonymous memory of a fit on many rows and on few: what the map shows of the file is not in it."""
    peaks = []
    for n_clips, epochs in ((N_MANY, 1), (N_FEW, 10)):
        cache, folder = _words(given, n_clips), given.scratch / "fitting"
        shutil.rmtree(folder, ignore_errors=True)
        fit = ("-m", "train", "fit", str(cache), "--run", str(folder), "--epochs", str(epochs))
        peaks.append(peak_anonymous(*fit) / 1e6)
        shutil.rmtree(folder, ignore_errors=True)
    many, few = peaks
    more = f"{many - few:+.0f} MB"
    yield f"| anonymous memory of a fit on 20,000 rows / 200 | {many:.0f} MB | {few:.0f} MB | {more} | under +150 MB |"


ROWS: dict[str, Callable[[Set], Iterator[str]]] = {
    "training": training,
    "training-wide": training_wide,
    "compact": compact,
    "compact-wide": compact_wide,
    "fit-before": fit_before,
    "fit-before-wide": fit_before_wide,
    "folds": folds,
    "folds-before": folds_before,
    "starting": starting,
    "feeding": feeding,
    "reading": reading,
    "fitting": fitting,
}
