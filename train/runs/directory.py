"""Run directories: the files in one; how one is made and opened, and its model, whose file may come from anyone.

model.keras      the trained model; plain Keras loads it
run.json         what it was trained on, how, and, once it is finished, how well it did: train.runs.record
split.csv        path, sha256, split of every clip: a clip under another name is recognised by its content
history.csv      one line an epoch (crossval: of every fold)
predictions.csv  path, class, predicted class and probabilities of every test clip (crossval: of every fold)
nearest.csv      path of every test clip, and of the clips most like it to the network that was tested on it
tensorboard/     what --tensorboard logs
report.html      all of that to look at and to listen to
recordings.html  the last result of `evaluate --recordings`
figures/         the figures of both as PNG
checkpoint/      only while it is unfinished: the last epoch or the finished folds, and the lock of its process

The tables are written and read by train.runs.tables.
"""

import json
import os
import time
import zipfile
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from cache import Cache, open_cache
from cache.file.columns import ROW_SHAPE
from cache.shared.cli import called, command_line, notice
from cache.shared.errors import UserError, reason_in
from cache.shared.files import LFS_REMEDY, as_path, is_lfs_pointer, locked, own_folder
from cache.shared.segment import Crop
from train.backend.types import Model
from train.runs.record import FINISHED, Record, read_record

LOGS = "tensorboard"
CHECKPOINT = "checkpoint"
_MAX_CONFIG_BYTES = 10_000_000
_WEIGHTS = "model.weights.h5"


@dataclass(frozen=True)
class Run:
    """A finished fit: its run directory, and what its `run.json` says."""

    folder: Path
    record: Record

    @property
    def class_names(self) -> tuple[str, ...]:
        """The position is the index into the model's output."""
        return tuple(self.record.class_names)

    @property
    def is_cropped(self) -> bool:
        """Whether the model was trained and scored on windows of its long clips."""
        return self.record.cropping != Crop()

    @property
    def temperature(self) -> float:
        """The temperature that calibrates the model's probabilities; 1 where it was not fitted."""
        return 1.0 if self.record.temperature is None else self.record.temperature


def new_run(run: str | Path | None, name: str) -> Path:
    """Make a run directory: `run`, which must be empty if it exists; or else `runs/<date>-<time>-<name>`.

    Raises a UserError if there is something there already, and a ModuleNotFoundError, before a directory is made, if
    nothing can be trained here.
    """
    if find_spec("tensorflow") is None:
        raise ModuleNotFoundError("TensorFlow is not installed", name="tensorflow")
    if run is not None:
        folder = as_path(run, "run")
        if (folder / CHECKPOINT / "lock").exists():
            with held(folder):
                pass
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"{folder} exists already; {_way_out(folder)}give another --run, or delete it first")
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    base = Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"
    for folder in (base, *(base.with_name(f"{base.name}-{i}") for i in range(2, 100))):
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise UserError(f"{base} exists already; give another with --run")


def _way_out(folder: Path) -> str:
    """Return how to go on with the run that is in a folder, if one was interrupted there."""
    with suppress(UserError):
        record = read_record(folder)
        return "" if record.state == FINISHED else f"{_go_on(folder, record)}, "
    return ""


def _go_on(folder: Path, record: Record) -> str:
    return f"go on with `{command_line('train', record.command, '--resume', folder)}`"


def held(folder: Path) -> AbstractContextManager[bool]:
    """Have an unfinished run directory to oneself; a UserError says who has it."""
    lock = own_folder(folder / CHECKPOINT) / "lock"
    return locked(lock, f"is at work in {folder}", "let it finish first", notice)


def open_run(folder: str | Path) -> Run:
    """Read and check the bundle of a finished fit; the model itself is left to load_model().

    Raises a UserError if the directory is missing, is not a run, is damaged, or its fit was interrupted.
    """
    folder = as_path(folder, "run")
    record = read_record(folder)
    if record.command != "fit":
        raise UserError(f"{folder} is a cross-validation, which has no model; make one with `{called('train')} fit`")
    if record.state != FINISHED:
        raise UserError(f"{folder} is an unfinished fit; {_go_on(folder, record)}")
    return Run(folder, record)


def cache_for(run: Run, file: Path | None, otherwise: str) -> Cache:
    """Open the cache that a run was trained on, where it was, or another one that fits the run.

    Raises a UserError if there is none, which ends with a remedy, `otherwise`, or if it cannot be used or has other
    classes or features.
    """
    cache = own_cache(run.folder, run.record, file, otherwise)
    if cache.class_names != run.class_names:
        raise UserError(
            f"{cache.file} has the classes {', '.join(cache.class_names)}, but {run.folder} was trained on "
            f"{', '.join(run.class_names)}, in this order; featurize with --classes {','.join(run.class_names)}"
        )
    differ = [
        f"{name} {cache.settings[name]!r} instead of {own!r}"
        for name, own in run.record.settings.items()
        if cache.settings[name] != own
    ]
    if cache.feature_version != run.record.feature_version:
        differ.append(f"feature version {cache.feature_version} instead of {run.record.feature_version}")
    if differ:
        raise UserError(f"{cache.file} has other features than {run.folder} was trained on: {', '.join(differ)}")
    return cache


def own_cache(folder: Path, record: Record, file: Path | None, otherwise: str) -> Cache:
    """Open the cache of a run where it was, or at the place where it is now; a UserError ends with the remedy."""
    own = Path(record.cache.file)
    if file is None and not own.exists():
        raise UserError(f"{own}, on which {folder} was trained, is not there any more, {otherwise}")
    return open_cache(file or own)


def data_folder(cache: Cache, was: Path | None = None) -> Path:
    """Return the folder of a cache's clips, seen from the cache, or from where it `was` when a run took it."""
    found = [Path(cache.data_folder)]
    if was is not None:
        # A ".." behind a link means one folder by name and another for the system.
        data = cache.header.data_dir
        found += [Path(os.path.normpath(was.parent / data)), was.parent.resolve() / data]
    return next((folder for folder in found if folder.is_dir()), found[0])


def load_model(run: Run) -> Model:
    """Load the model of a run without compiling it; only Keras's own layers are accepted.

    Raises a UserError if the file is missing, damaged, holds code or foreign layers, or does not fit the run's classes.
    """
    file = run.folder / "model.keras"
    if not file.is_file():
        raise UserError(f"{file} is missing, so this run directory is not whole; train again")
    with file.open("rb") as content:
        if is_lfs_pointer(content.read(100)):
            raise UserError(f"{file}: {LFS_REMEDY}")
    try:
        with zipfile.ZipFile(file) as archive:
            if archive.getinfo("config.json").file_size > _MAX_CONFIG_BYTES:
                raise ValueError("its configuration is larger than any model's")
            if archive.getinfo(_WEIGHTS).file_size > file.stat().st_size:
                raise ValueError("its weights would be larger than the file, and Keras does not compress them")
            config = json.loads(archive.read("config.json"))
            _refuse_code(config)
            model = _load(archive, config)
        shapes: tuple[object, object] = (model.input_shape, model.output_shape)
        n_classes = len(run.class_names)
        if shapes != ((None, *ROW_SHAPE), (None, n_classes)):
            taken = f"takes {model.input_shape} to {model.output_shape}"
            raise UserError(f"{taken}, which does not fit the {n_classes} classes in run.json")
        return model
    except UserError as error:
        raise UserError(f"{file} {error}") from None
    # zipfile, JSON, HDF5 and Keras each fail with exceptions of their own over a damaged file.
    except Exception as error:
        raise UserError(f"{file} is damaged or not a Keras model ({reason_in(error)}); train again") from None


def _load(archive: zipfile.ZipFile, config: dict[str, object]) -> Model:
    """Load a model as keras.models.load_model() does, but without its copies of the file and the optimiser in memory.

    Extracting the weights compares their checksum, which Keras does not do when it reads a file in place.
    """
    from train.backend.keras import keras

    config.pop("compile_config", None)
    model: Model = keras.saving.deserialize_keras_object(config, safe_mode=True)
    with TemporaryDirectory() as folder:
        weights = archive.extract(_WEIGHTS, folder)
        _refuse_larger_arrays(weights)
        model.load_weights(weights)
    return model


def _refuse_larger_arrays(file: str) -> None:
    """Raise a ValueError if the arrays of an HDF5 file are larger than the file: compressed, or never written."""
    import h5py

    sizes: list[int] = []
    with h5py.File(file) as h5:
        # It must not end early, which a result that is not None would make it do.
        h5.visititems(lambda _, one: sizes.append(one.nbytes) if isinstance(one, h5py.Dataset) else None)
    if sum(sizes) > Path(file).stat().st_size:
        raise ValueError("its arrays would be larger than the file, and Keras does not compress them")


def _refuse_code(node: object) -> None:
    # Keras's safe_mode refuses marshalled lambdas only; this refuses everything that is not a layer of Keras itself.
    if isinstance(node, dict) and "class_name" in node:
        module = node.get("module")
        if node["class_name"] == "Lambda":
            raise UserError("holds a Lambda layer, which could run any code; it is not loaded")
        foreign = module is not None and not (isinstance(module, str) and f"{module}.".startswith("keras."))
        if foreign or (module is None and node.get("registered_name") is not None):
            raise UserError(f"holds {node['class_name']!r}, which is not a part of Keras; it is not loaded")
    for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _refuse_code(part)
