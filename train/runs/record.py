"""What a run records of its cache, its split, its versions and its predictions."""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cache import Cache
from train.dataset.splits import SPLITS
from train.runs.directory import write_table

LIBRARIES = ("h5py", "keras", "numpy", "scikit-learn", "tensorflow")


def versions() -> dict[str, str]:
    """Return the version of Python and of every library that a score may depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def describe_cache(cache: Cache) -> dict[str, Any]:
    """Return what a model trained on this cache must remember of it."""
    return {
        "class_names": list(cache.class_names),
        "settings": cache.settings,
        "feature_version": cache.feature_version,
        "cache": {
            "file": str(cache.file.absolute()),
            "fingerprint": cache.fingerprint,
            "n_clips": len(cache),
            "dtype": cache.X.dtype.name,
            "data_dir": cache.data_dir,
            "versions": cache.versions,
        },
    }


def describe_split(cache: Cache, groups: npt.NDArray[np.intp], split: npt.NDArray[np.int8]) -> dict[str, Any]:
    """Return clips, groups and clips per class of each split, by its name."""
    return {
        name: {
            "n": int(np.count_nonzero(split == side)),
            "n_groups": len(np.unique(groups[split == side])),
            "n_per_class": {
                class_name: int(np.count_nonzero((split == side) & (cache.labels == label)))
                for label, class_name in enumerate(cache.class_names)
            },
        }
        for side, name in enumerate(SPLITS)
    }


def write_predictions(
    file: Path, cache: Cache, rows: npt.NDArray[np.intp], probabilities: npt.NDArray[np.float32]
) -> None:
    """Write a CSV file with a line for every clip that was tested: path, class, predicted class, probabilities."""
    names, paths, labels = cache.class_names, cache.paths, cache.labels
    lines = (
        (paths[row], names[labels[row]], names[p.argmax()], *(f"{value:.6g}" for value in p.tolist()))
        for row, p in zip(rows.tolist(), probabilities, strict=True)
    )
    write_table(file, ("path", "class", "predicted", *(f"p_{name}" for name in names)), lines)


def flat(folder: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Return what `--json` prints of a run: its record, with the metrics beside the rest as `evaluate` has them."""
    rest = {name: value for name, value in record.items() if name != "metrics"}
    return {"run": str(folder), **(record["metrics"] or {}), **rest}
