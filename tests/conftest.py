"""What several test files need: a small cache, made from clips by the command itself, and the order of the files."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from train import fit
from train.models import recipes as models

ROOT = Path(__file__).parent.parent
PITCHES = {"dog": 300.0, "cat": 900.0, "bird": 2700.0}
N_SPEAKERS = 8
N_TAKES = 2
# Files that take longest, the longest first: they are begun first, so that no core is left with one at the end, and
# their tests are marked slow.
SLOW_FILES = (
    "whole/test_crash.py",
    "train/exporters/test_export.py",
    "featurize/workers/test_dask.py",
    "train/fitting/test_fit_dask.py",
    "whole/test_train_command.py",
    "train/fitting/test_sweep.py",
    "train/fitting/test_fit.py",
    "train/report/test_page.py",
    "cache/file/test_bad_caches.py",
    "train/predict/test_deliver.py",
    "featurize/audio/test_fuzz.py",
    "train/models/test_recipes.py",
    "train/fitting/test_crossval.py",
    "whole/test_stop.py",
    "train/report/test_report.py",
    "whole/test_round.py",
)
# Of crossval() and of fit().
OPTIONS: dict[str, Any] = {"model": "tiny", "epochs": 3, "batch_size": 8, "val": 0.2, "deterministic": True}
OF_FIT = {**OPTIONS, "test": 0.2}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {ROOT / "tests" / name: i for i, name in enumerate(SLOW_FILES)}
    assert [file for file in rank if not file.exists()] == []
    for item in items:
        if item.path in rank:
            item.add_marker("slow")
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


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


def featurize(data: Path, cache_file: Path, *arguments: str) -> Path:
    command = [sys.executable, "-m", "featurize", str(data), "--cache", str(cache_file), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return cache_file


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 tones of three pitches by 8 speakers; treat it as read-only."""
    return write_clips(tmp_path_factory.mktemp("tones") / "data", seed=1)


@pytest.fixture(scope="session")
def tones_cache(tones: Path) -> Path:
    """The cache of `tones`."""
    return featurize(tones, tones.parent / "features.h5")


def build_tiny(n_classes: int, learning_rate: float | None) -> Any:
    from train.backend.keras import keras

    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((128, 128, 1)),
            layers.AveragePooling2D(8),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(momentum=0.5),
            layers.Flatten(),
            layers.Dropout(0.2),
            layers.Dense(n_classes, activation="softmax"),
        ]
    )
    optimizer = keras.optimizers.Adam(0.01 if learning_rate is None else learning_rate)
    model.compile(optimizer=optimizer, loss="categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.fixture(scope="session")
def tiny() -> str:
    """The name of a model that trains in no time, with everything that has a state: dropout and batch statistics."""
    models.RECIPES["tiny"] = models.Recipe(build_tiny, epochs=3)
    return "tiny"


@pytest.fixture(scope="session")
def run(tiny: str, tones_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of `tiny` on the tones; treat it as read-only."""
    folder, _ = fit(tones_cache, tmp_path_factory.mktemp("runs") / "run", **OF_FIT)
    return folder
