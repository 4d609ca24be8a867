"""The rows of the benchmark that are about featurize."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from tests.bench import clips
from tests.bench.measure import Pair, in_turns, peak_memory, printed, seconds

LOOPS = ("-m", "tests.bench.loops")

# One-second clips for a steady state: enough for seconds of ours, and as many seconds of the slower side.
N_OURS, N_THEIRS = 10_000, 800


class Set(NamedTuple):
    """The folders of clips that are made and of real ones, and how often to measure."""

    scratch: Path
    real: Path | None
    n_pairs: int

    @property
    def words(self) -> Path:
        return clips.words(self.scratch, self.real)

    @property
    def few(self) -> Path:
        return clips.words(self.scratch, self.real, 60)


def line(what: str, pair: Pair, unit: str, wanted: str) -> str:
    ours, theirs = f"{pair.ours:,.3g} {unit}", f"{pair.theirs:,.3g} {unit}"
    if unit == "clips/s":
        ours, theirs = f"{pair.ours:,.0f} {unit}", f"{pair.theirs:,.0f} {unit}"
    return f"| {what} | {ours} | {theirs} | {pair.ratio:.2f} ({pair.least:.2f} to {pair.greatest:.2f}) | {wanted} |"


def steady(given: Set) -> Iterator[str]:
    """Workers that run against the librosa loop in one process, from the file to the row.

    Beside them the whole pipeline, which also hashes every clip, checksums every row and hands them over.
    """
    for name, n_jobs, what, wanted in (
        ("features", 1, "1 worker", "at least 12"),
        ("features", 2, "2 workers", "at least 20"),
        ("ours", 1, "1 worker with hashes and checksums", ""),
        ("ours", 2, "2 workers with hashes and checksums", ""),
    ):
        pair = in_turns(
            lambda name=name, n=n_jobs: printed(*LOOPS, name, str(given.words), str(N_OURS), str(n)),
            lambda: printed(*LOOPS, "librosa", str(given.words), str(N_THEIRS)),
            given.n_pairs,
        )
        yield line(f"steady state, {what} / librosa loop", pair, "clips/s", wanted)


def rivals(given: Set) -> Iterator[str]:
    """One worker against other libraries, one clip at a time."""
    for name in ("torchaudio", "kaldi-native-fbank", "lhotse"):
        if find_spec(name.replace("-", "_")) is None:
            yield f"| steady state, 1 worker / {name} | | | skipped: {name} is not installed | |"
            continue
        pair = in_turns(
            lambda: printed(*LOOPS, "features", str(given.words), str(N_OURS), "1"),
            lambda n=name: printed(*LOOPS, n, str(given.words), str(N_THEIRS)),
            given.n_pairs,
        )
        yield line(f"steady state, 1 worker / {name}", pair, "clips/s", "")


def whole(given: Set) -> Iterator[str]:
    """The command against a plain script, each from start to end."""
    cache, array = given.scratch / "whole.h5", given.scratch / "whole.npy"
    pair = in_turns(
        lambda: _fresh(cache, str(given.words)),
        lambda: seconds(*LOOPS, "script", str(given.words), str(array)),
        given.n_pairs,
    )
    inverse = Pair(pair.ours, pair.theirs, 1 / pair.ratio, 1 / pair.greatest, 1 / pair.least)
    yield line("whole process on 20,000 clips / librosa loop and np.save", inverse, "s", "at least 12")
    for file in (cache, array, array.with_suffix(".y.npy")):
        file.unlink(missing_ok=True)


def mixed(given: Set) -> Iterator[str]:
    """Recordings that need resampling."""
    data = clips.mixed(given.scratch)
    pair = in_turns(
        lambda: printed(*LOOPS, "ours", str(data), str(clips.N_MIXED), "2"),
        lambda: printed(*LOOPS, "librosa", str(data), str(clips.N_MIXED)),
        given.n_pairs,
    )
    yield line("mixed recordings, 2 workers / librosa loop", pair, "clips/s", "at least 6")


def ranges(given: Set) -> Iterator[str]:
    """Clips of a second at the rates of birds, insects and bats, each clip a row in the range of its profile."""
    for sr, profile in ((48_000, "birds"), (96_000, "insects"), (250_000, "bats")):
        data = str(clips.seconds_at(given.scratch, sr))
        pair = in_turns(
            lambda data=data, profile=profile: printed(*LOOPS, "range", data, profile, "ours"),
            lambda data=data, profile=profile: printed(*LOOPS, "range", data, profile, "librosa"),
            given.n_pairs,
        )
        yield line(f"a second at {sr // 1000} kHz, profile {profile}, 1 worker / librosa", pair, "clips/s", "")


def cold(given: Set) -> Iterator[str]:
    """The first run on a few clips against the notebook's cells 1 to 6."""
    cache = given.scratch / "cold.h5"
    pair = in_turns(
        lambda: _fresh(cache, str(given.few)),
        lambda: seconds(*LOOPS, "notebook", str(given.few)),
        given.n_pairs,
    )
    yield line("cold start on 60 clips / the notebook's cells 1 to 6", pair, "s", "under 0.25")
    cache.unlink(missing_ok=True)


def nothing(given: Set) -> Iterator[str]:
    """A second run over 20,000 clips against the bare start of Python with what it needs."""
    cache = given.scratch / "nothing.h5"
    _fresh(cache, str(given.words))
    pair = in_turns(
        lambda: seconds("-m", "featurize", str(given.words), "--cache", str(cache)),
        lambda: seconds("-c", "import typer, numpy, h5py"),
        given.n_pairs,
    )
    yield line("nothing to do on 20,000 clips / importing typer, numpy and h5py", pair, "s", "ours under 1.0 s")
    cache.unlink(missing_ok=True)


def long(given: Set) -> Iterator[str]:
    """One hour of 44.1 kHz stereo, streamed against read whole."""
    file = str(clips.long_recording(given.scratch))
    pair = in_turns(lambda: printed(*LOOPS, "streamed", file), lambda: printed(*LOOPS, "whole", file), given.n_pairs)
    yield line("one hour, streamed / read whole", pair, "s", "at most 1")
    streamed, read_whole = (peak_memory(*LOOPS, name, file) / 1e6 for name in ("streamed", "whole"))
    yield _memory("one hour, peak memory", streamed, read_whole, "under 200 MB")


def memory(given: Set) -> Iterator[str]:
    """Peak memory of featurising many clips against few."""
    cache = given.scratch / "memory.h5"
    peaks = []
    for data in (given.words, given.few):
        cache.unlink(missing_ok=True)
        peaks.append(peak_memory("-m", "featurize", str(data), "--cache", str(cache), "--jobs", "2") / 1e6)
    many, few = peaks
    yield _memory("peak memory of all processes, 20,000 clips / 60", many, few, "under 300 MB")
    cache.unlink(missing_ok=True)


def _memory(what: str, ours: float, theirs: float, wanted: str) -> str:
    return f"| {what} | {ours:.0f} MB | {theirs:.0f} MB | {ours / theirs:.2f} | {wanted} |"


def _fresh(cache: Path, data: str) -> float:
    cache.unlink(missing_ok=True)
    return seconds("-m", "featurize", data, "--cache", str(cache))


ROWS: dict[str, Callable[[Set], Iterator[str]]] = {
    "steady": steady,
    "rivals": rivals,
    "whole": whole,
    "mixed": mixed,
    "ranges": ranges,
    "cold": cold,
    "nothing": nothing,
    "long": long,
    "memory": memory,
}
