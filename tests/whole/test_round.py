"""Label, train, predict, correct, and again: twice round, and every call of another recording is found."""

from pathlib import Path

import numpy as np
import soundfile

from cache import open_cache
from cache.labels.annotation import Region
from cache.labels.read import read_labels
from cache.labels.table import USUAL
from tests.helpers.commands import featurize
from tests.helpers.tones import PITCHES, tone
from train import fit
from train.predict.deliver import Output, deliver
from train.predict.predict import predict
from train.predict.recordings import LABELS, Source
from train.predict.sinks import label_text
from train.recordings.evaluate import evaluate_recordings
from train.recordings.score import overlapping
from train.runs.directory import open_run

SECONDS = 40


def recorded(file: Path, seed: int) -> list[Region]:
    """Write a recording with faint noise and nine calls of half a second, and return these."""
    rng = np.random.default_rng(seed)
    y = rng.normal(0, 0.01, 16000 * SECONDS)
    calls = []
    for i, name in enumerate(rng.permutation([*PITCHES] * 3).tolist()):
        at = 1.0 + 4 * i
        y[round(16000 * at) :][:8000] += tone(name, 0.5, seed + i)
        calls.append(Region(at, at + 0.5, name, 1.0))
    soundfile.write(file, y, 16000)
    return calls


def corrected(file: Path, format: str, wrong: list[Region], true: list[Region]) -> None:
    """A person's corrections of labels: a call gets its right name and its right ends, and the rest goes."""
    heard = overlapping(np.array([one[:2] for one in true]), np.array([one[:2] for one in wrong]).reshape(-1, 2)).any(
        axis=1
    )
    kept = [one for one, is_heard in zip(true, heard.tolist(), strict=True) if is_heard]
    assert kept
    file.write_text(label_text(format, file.name.split(".")[0] + ".wav", kept, (0.0, 8000.0)))


def test_twice_round(tiny: str, tmp_path: Path) -> None:
    data, tables = tmp_path / "recordings", tmp_path / "labels"
    data.mkdir()
    tables.mkdir()
    calls = {name: recorded(data / f"{name}.wav", seed) for seed, name in enumerate(("a", "b", "c", "d", "last"))}
    for name in ("a", "b"):
        (tables / f"{name}.labels.txt").write_text(label_text("audacity", f"{name}.wav", calls[name]))
    arguments = ("--labels", str(tables), "--background", "6", "--classes", "dog,cat,bird,background")
    cache_file = featurize(data, tmp_path / "features.h5", *arguments)
    n_first = len(open_cache(cache_file))
    assert n_first == 2 * (9 + 6)
    asked = {"model": tiny, "epochs": 12, "batch_size": 8, "val": 0.0, "test": 0.0, "deterministic": True}
    folder, _ = fit(cache_file, tmp_path / "first", **asked)
    for name, format in (("c", "audacity"), ("d", "raven")):
        run, file = open_run(folder), tables / f"{name}{LABELS[format].ENDING}"
        source = Source(data / f"{name}.wav", f"{name}.wav")
        deliver(run, [source], lambda sources, run=run: predict(run, sources), Output(format, file, single=True))
        said = [Region(one.start, one.end, one.label, 1.0) for one in read_labels([file], data).annotations]
        corrected(file, format, said, calls[name])
        featurize(data, cache_file)
        folder, _ = fit(cache_file, tmp_path / f"with-{name}", **asked)
    cache = open_cache(cache_file)
    assert len(cache) >= n_first + 2 * (8 + 6)
    (tables / "last.txt").write_text(label_text("audacity", "last.wav", calls["last"]))
    result = evaluate_recordings(folder, data / "last.wav", [tables / "last.txt"], USUAL, False)
    assert result.n_labels == 9
    found = {name: one.events.recall.value for name, one in result.per_class.items()}
    assert found == {"dog": 1, "cat": 1, "bird": 1}
    assert result.misses == []
