"""Record: what `run.json` says of a run."""

import json
import platform
from dataclasses import MISSING, asdict, dataclass, field, fields
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cache import Cache
from cache.shared.errors import UserError
from cache.shared.files import read_text, replacing
from train.dataset.splits import SPLITS

RUN_FORMAT = 1
UNFINISHED, FINISHED = "unfinished", "finished"
LIBRARIES = ("h5py", "keras", "numpy", "scikit-learn", "tensorflow")
# What every run has of these, a finished one at the latest; the rest may be missing in what an earlier version wrote.
_TABLES: dict[str, type | tuple[type, ...]] = {
    "class_names": list,
    "settings": dict,
    "options": dict,
    "metrics": (dict, type(None)),
    "versions": dict,
}
_OF_FIT = (
    *("split", "clip_duration", "n_parameters", "n_epochs", "best_epoch", "validation_accuracy"),
    *("temperature", "thresholds", "thresholds_of"),
)
_OF_CROSSVAL = ("n_groups", "folds")
_RESULTS = (*_OF_FIT[2:], "metrics", "sanity", "leak_probe", "warnings", "folds", "versions", "seconds")


@dataclass(frozen=True)
class TrainedOn:
    """The cache of a run: its file, what it held, and what it was made with."""

    file: str
    fingerprint: str
    n_clips: int = 0
    dtype: str = ""
    data_dir: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, cache: Cache) -> Self:
        """Describe a cache."""
        file = str(cache.file.absolute())
        return cls(file, cache.fingerprint, len(cache), cache.X.dtype.name, cache.data_dir, cache.versions)


@dataclass(frozen=True)
class Record:
    """What is known of a run: the first part from its start, the second when it is finished.

    Attributes
    ----------
    state
        UNFINISHED or FINISHED.
    command
        "fit" or "crossval".
    started
        When, in ISO 8601.
    class_names, settings, feature_version, cache
        What the model was trained on.
    options
        What was asked for, by the names of train.fitting.options.Options; of a crossval also `folds` and `repeats`.
    split
        Of a fit: clips, groups and clips per class of each side, by its name.
    clip_duration
        Of a fit: median of the training clips, in seconds.
    n_groups
        Of a crossval.
    n_parameters, n_epochs, best_epoch, validation_accuracy
        Of a fit: what came of the training; without validation clips the last is None.
    temperature
        Of a fit: what its probabilities are calibrated with, see train.models.temperature; None without validation.
    thresholds
        Of a fit: what `predict --threshold auto` takes, by class; a class without validation clips has none.
    thresholds_of
        What they were found on, in words.
    metrics, sanity, leak_probe, warnings
        What train.score says; `metrics` is None without test clips.
    folds
        Of a crossval: what became of each.
    versions
        Of Python and the libraries.
    seconds
        How long it took.
    """

    state: str
    command: str
    started: str
    class_names: list[str]
    settings: dict[str, Any]
    feature_version: int
    cache: TrainedOn
    options: dict[str, Any]
    split: dict[str, Any] = field(default_factory=dict)
    clip_duration: float | None = None
    n_groups: int = 0
    n_parameters: int = 0
    n_epochs: int = 0
    best_epoch: int = 0
    validation_accuracy: float | None = None
    temperature: float | None = None
    thresholds: dict[str, float] = field(default_factory=dict)
    thresholds_of: str = ""
    metrics: dict[str, Any] | None = None
    sanity: dict[str, Any] = field(default_factory=dict)
    leak_probe: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)
    folds: list[dict[str, Any]] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return what `run.json` holds beside its format."""
        absent = {*(_OF_CROSSVAL if self.command == "fit" else _OF_FIT), *(() if self.state == FINISHED else _RESULTS)}
        absent -= {"warnings"} if self.warnings else set()
        return {name: value for name, value in asdict(self).items() if name not in absent}


def start_record(command: str, cache: Cache, options: dict[str, Any]) -> Record:
    """Return the record of a run that starts now on a cache."""
    return Record(
        state=UNFINISHED,
        command=command,
        started=datetime.now().astimezone().isoformat(timespec="seconds"),
        class_names=list(cache.class_names),
        settings=cache.settings,
        feature_version=cache.feature_version,
        cache=TrainedOn.of(cache),
        options=options,
    )


def write_record(folder: Path, record: Record) -> None:
    """Replace `run.json`."""
    text = json.dumps({"run_format": RUN_FORMAT, **record.as_dict()}, indent=2) + "\n"
    with replacing(folder / "run.json", sync=True) as file:
        file.write_text(text, encoding="utf-8")


def read_record(folder: Path) -> Record:
    """Read `run.json`, of a finished or an unfinished run.

    Raises
    ------
    UserError
        The directory is missing or is no run of this format.
    """
    file = folder / "run.json"
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such run directory; make one with `python -m train fit`")
    if not file.exists():
        raise UserError(f"{folder} is not a run directory: it has no run.json")
    try:
        content = json.loads(read_text(file))
    except (ValueError, RecursionError):
        raise UserError(f"{file} is damaged: it is not JSON; train again") from None
    if not isinstance(content, dict) or content.get("state") not in (UNFINISHED, FINISHED):
        raise UserError(f"{file} is not the record of a run")
    if content.get("run_format") != RUN_FORMAT:
        raise UserError(f"{file} has format {content.get('run_format')!r}, and this program reads format {RUN_FORMAT}")
    try:
        for name, kind in _TABLES.items():
            is_there = name not in _RESULTS or content["state"] == FINISHED
            if is_there and not isinstance(content[name], kind):
                raise KeyError(name)
        return Record(**{**_known(Record, content), "cache": TrainedOn(**_known(TrainedOn, content["cache"]))})
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{file} is damaged: it is not the record of a run ({error} is missing or wrong); train again"
        ) from None


def _known(kind: type[Record | TrainedOn], content: dict[str, Any]) -> dict[str, Any]:
    """Return the entries that are fields; a KeyError names one that is missing."""
    has_default = {f.name for f in fields(kind) if f.default is not MISSING or f.default_factory is not MISSING}
    return {f.name: content[f.name] for f in fields(kind) if f.name in content or f.name not in has_default}


def versions() -> dict[str, str]:
    """Return the version of Python and of every library that a score may depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


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


def flat(folder: Path, record: Record) -> dict[str, Any]:
    """Return what `--json` prints of a run: its record, with the metrics beside the rest as `evaluate` has them."""
    rest = {name: value for name, value in record.as_dict().items() if name != "metrics"}
    return {"run": str(folder), **(record.metrics or {}), **rest}
