"""Record: the content of `run.json`."""

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final, Literal, cast

import numpy as np
import numpy.typing as npt

from cache import Cache
from cache.file.header import is_folder_name
from cache.file.settings import SETTINGS, Setting
from cache.shared.cli import called
from cache.shared.errors import UserError
from cache.shared.files import read_text, write_file
from cache.shared.segment import Crop
from train.dataset.splits import SPLITS, Subsets
from train.runs.results import Count, FoldSummary, LeakProbe, Number, Score, Seconds, Share, Subset, Within, typed

RUN_FORMAT = 1
UNFINISHED: Final = "unfinished"
FINISHED: Final = "finished"
LIBRARIES = ("h5py", "keras", "numpy", "scikit-learn", "tensorflow")
# Seconds that a window has at least: predict cuts windows as long as the median clip.
SHORTEST_WINDOW = 0.01

Option = str | int | float | bool | None

_OF_FIT = (
    *("split", "clip_duration", "n_parameters", "n_epochs", "best_epoch", "validation_accuracy"),
    *("temperature", "thresholds", "thresholds_of"),
)
_OF_CROSSVAL = ("n_groups", "folds")
_OF_CROP = Crop._fields
_RESULTS = (*_OF_FIT[2:], "metrics", "sanity", "leak_probe", "warnings", "folds", "versions", "seconds")


@dataclass(frozen=True)
class TrainedOn:
    """The cache of a run: its file, what it held, and what it was made with."""

    file: str
    fingerprint: str
    n_clips: Count = 0
    dtype: Literal["float32", "float16"] = "float32"
    data_dir: str = ""
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """A run as `run.json` describes it: the first part from its start, the results when it is finished."""

    state: Literal["unfinished", "finished"]
    command: Literal["fit", "crossval"]
    started: str  # when, in ISO 8601
    class_names: list[str]
    settings: dict[str, Setting]
    feature_version: int
    cache: TrainedOn
    # The options of the command, by name; a crossval also has `folds`, `repeats` and perhaps `fold_by`.
    options: dict[str, Option]
    # How clips that are longer than a row became rows, see cache.shared.segment.Crop.
    crop: Literal["middle", "segments", "loudest"] = "middle"
    overlap: Annotated[float, Within(0, 0.99)] = Crop().overlap
    n_windows: Number = Crop().n_windows
    split: dict[str, Subset] = field(default_factory=dict)  # the subsets of a fit by their names; a crossval has none
    # The median of the training clips of a fit, in seconds.
    clip_duration: Annotated[float, Within(SHORTEST_WINDOW, 1e6)] | None = None
    n_groups: Count = 0  # groups of clips in a crossval
    n_parameters: Count = 0
    n_epochs: Count = 0
    best_epoch: Count = 0
    validation_accuracy: Share | None = None  # of the best epoch of a fit; None without validation clips
    # Calibrates a fit's probabilities, see train.models.calibration; None without validation clips.
    temperature: Annotated[float, Within(0.01, 100)] | None = None
    # The thresholds of `predict --threshold auto`, by class; a class without validation clips has none.
    thresholds: dict[str, Share] = field(default_factory=dict)
    thresholds_of: str = ""  # the clips they were found on, in words
    metrics: Score | None = None  # None without test clips
    sanity: dict[str, Score] = field(default_factory=dict)  # the score of each baseline, by its name
    leak_probe: LeakProbe | None = None
    warnings: list[str] = field(default_factory=list)
    folds: list[FoldSummary] = field(default_factory=list)  # of a crossval
    versions: dict[str, str] = field(default_factory=dict)  # of Python and of the libraries
    seconds: Seconds = 0.0

    def __repr__(self) -> str:
        what = (
            f"{self.state} {self.command} of {self.model}, {self.cache.n_clips} clips, {len(self.class_names)} classes"
        )
        return f"<Record: {what}" + (f", accuracy {self.metrics.accuracy:.3f}>" if self.metrics else ">")

    @property
    def model(self) -> str:
        """The name of the model."""
        return str(self.options.get("model"))

    @property
    def group_by(self) -> str | None:
        """The regular expression that groups the clips; None: by their names."""
        pattern = self.options.get("group_by")
        return None if pattern is None else str(pattern)

    @property
    def fit_options(self) -> dict[str, Option]:
        """The options without those that a crossval alone has."""
        return {name: value for name, value in self.options.items() if name not in ("folds", "repeats", "fold_by")}

    @property
    def fold_by(self) -> str | None:
        """The regular expression that gives a crossval its folds; None: they are drawn."""
        pattern = self.options.get("fold_by")
        return None if pattern is None else str(pattern)

    @property
    def n_folds(self) -> int:
        """Folds of a crossval."""
        return int(self.options["folds"] or 0)

    @property
    def n_repeats(self) -> int:
        """How often a crossval tested every clip."""
        return int(self.options["repeats"] or 0)

    @property
    def cropping(self) -> Crop:
        """How clips longer than a row became rows."""
        return Crop(self.crop, self.overlap, self.n_windows)

    def as_dict(self) -> dict[str, object]:
        """Return what `run.json` holds beside its format."""
        absent = _absent(self.command, self.state) - ({"warnings"} if self.warnings else set())
        # The record of a run whose clips are one row each has no fields about windows.
        absent |= {*_OF_CROP} if self.cropping == Crop() else set()
        return {name: value for name, value in asdict(self).items() if name not in absent}


def _absent(command: object, state: object) -> set[str]:
    """Return the fields that a run does not have."""
    return {*(_OF_CROSSVAL if command == "fit" else _OF_FIT), *(() if state == FINISHED else _RESULTS)}


def start_record(command: Literal["fit", "crossval"], cache: Cache, options: dict[str, Option]) -> Record:
    """Return the record of a run that starts now on a cache."""
    has_long_clips = cache.columns["clip"].astype(bool).any()
    header, file = cache.header, str(cache.file.absolute())
    cropping = header.cropping if has_long_clips else Crop()
    dtype = cast(Literal["float32", "float16"], header.dtype)
    return Record(
        state=UNFINISHED,
        command=command,
        started=datetime.now().astimezone().isoformat(timespec="seconds"),
        class_names=list(cache.class_names),
        settings=cache.settings,
        feature_version=cache.feature_version,
        cache=TrainedOn(file, header.fingerprint, cache.n_clips, dtype, header.data_dir, dict(header.versions)),
        options=options,
        **cropping._asdict(),
    )


def write_record(folder: Path, record: Record) -> None:
    """Replace `run.json`."""
    content = {"run_format": RUN_FORMAT, **record.as_dict()}
    write_file(folder / "run.json", json.dumps(content, indent=2) + "\n", sync=True)


def read_record(folder: Path) -> Record:
    """Read `run.json`, of a finished or an unfinished run.

    Raises a UserError if the directory is missing, or `run.json` is not the record of a run; the message names the
    entry.
    """
    file = folder / "run.json"
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such run directory; make one with `{called('train')} fit`")
    if not file.exists():
        raise UserError(f"{folder} is not a run directory: it has no run.json")
    try:
        content = json.loads(read_text(file))
        if not isinstance(content, dict):
            raise ValueError("it is not an object")
        if (found := content.get("run_format")) != RUN_FORMAT:
            raise UserError(f"{file} has format {found!r}, and this program reads {RUN_FORMAT}; train again")
        absent = _absent(content.get("command"), content.get("state"))
        own = {name: value for name, value in content.items() if name not in absent - {"warnings"}}
        record = typed(Record, own, optional=absent | {*_OF_CROP})
        _check(record)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is damaged: {error}; train again") from None
    return record


def _check(record: Record) -> None:
    """Raise a ValueError where entries do not fit each other."""
    names = record.class_names
    if not names or not all(map(is_folder_name, names)):
        bad = next((name for name in names if not is_folder_name(name)), None)
        raise ValueError("class_names is empty" if bad is None else f"class_names has {bad!r}, which cannot be a class")
    if "\0" in record.cache.file + record.cache.data_dir:
        raise ValueError("cache has a path that no file system has")
    if len(set(names)) < len(names):
        raise ValueError("class_names has a class twice")
    if {name: type(value) for name, value in record.settings.items()} != SETTINGS:
        wrong = {name for name, kind in SETTINGS.items() if type(record.settings.get(name)) is not kind}
        wrong |= record.settings.keys() - SETTINGS.keys()
        raise ValueError(f"settings.{min(wrong)} is missing, unknown or of another type")
    for name in ("folds", "repeats") if record.command == "crossval" else ():
        if not isinstance(n := record.options.get(name), int) or n < 1:
            raise ValueError(f"options.{name} is {n!r}, expected 1 or more")
    if other := record.thresholds.keys() - set(names):
        raise ValueError(f"thresholds has {min(other)!r}, which is not one of the classes")
    if record.best_epoch > record.n_epochs:
        raise ValueError(f"best_epoch is {record.best_epoch}, expected at most n_epochs, {record.n_epochs}")
    try:
        datetime.fromisoformat(record.started)
    except ValueError:
        raise ValueError(f"started is {record.started!r}, expected a date and a time") from None
    if record.command == "fit" and tuple(record.split) != SPLITS:
        raise ValueError(f"split has {', '.join(record.split)}, expected {', '.join(SPLITS)}")
    for name, subset in record.split.items():
        _check_classes(f"split.{name}.n_per_class", subset.n_per_class, names)
    for name, score in {"metrics": record.metrics, **{f"sanity.{k}": v for k, v in record.sanity.items()}}.items():
        if score is not None:
            _check_classes(f"{name}.per_class", score.per_class, names)
            if [len(row) for row in score.confusion] != [len(names)] * len(names):
                raise ValueError(f"{name}.confusion is not a square of {len(names)} classes")


def _check_classes(name: str, found: Mapping[str, object], class_names: list[str]) -> None:
    if list(found) != class_names:
        raise ValueError(f"{name} is not of the classes {', '.join(class_names)}")


def versions() -> dict[str, str]:
    """Return the version of Python and of every library that a score may depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def describe_split(cache: Cache, groups: npt.NDArray[np.intp], split: Subsets) -> dict[str, Subset]:
    """Return the subsets of a split, given as an index into `SPLITS` for every clip, by their names."""
    described = {}
    for i, name in enumerate(SPLITS):
        counts = np.bincount(cache.clip_labels[split == i], minlength=len(cache.class_names)).tolist()
        n_groups, n_per_class = len(np.unique(groups[split == i])), dict(zip(cache.class_names, counts, strict=True))
        described[name] = Subset(sum(counts), n_groups, n_per_class)
    return described


def as_json(folder: Path, record: Record) -> dict[str, object]:
    """Return what `--json` prints of a run: its record, with the score beside the rest as `evaluate` has it."""
    rest = {name: value for name, value in record.as_dict().items() if name != "metrics"}
    return {"run": str(folder), **(asdict(record.metrics) if record.metrics else {}), **rest}
