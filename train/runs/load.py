"""load_model() and cache_for(): the model of a run, whose file may come from anyone, and a cache that fits the run."""

import json
import os
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from cache import Cache, open_cache
from cache.file.columns import ROW_SHAPE
from cache.shared.errors import UserError
from cache.shared.files import LFS_REMEDY, is_lfs_pointer
from train.backend.types import Model
from train.runs.directory import Run
from train.runs.record import Record

_MAX_CONFIG_BYTES = 10_000_000
_WEIGHTS = "model.weights.h5"


def cache_for(run: Run, file: Path | None, otherwise: str) -> Cache:
    """Open the cache that a run was trained on, where it was, or another one that fits the run.

    Raises a UserError if there is none, which ends with a remedy, `otherwise`, or if it cannot be used or has other
    classes or features.
    """
    cache = own_cache(run.folder, run.record, file, otherwise)
    refuse_mismatch(run, cache)
    return cache


def own_cache(folder: Path, record: Record, file: Path | None, otherwise: str) -> Cache:
    """Open the cache of a run where it was, or at the place where it is now; a UserError ends with the remedy."""
    own = Path(record.cache.file)
    if file is None and not own.exists():
        raise UserError(f"{own}, on which {folder} was trained, is not there any more, {otherwise}")
    return open_cache(file or own)


def data_folder(cache: Cache, was: Path | None = None) -> Path:
    """Return the folder of a cache's clips, as the cache or its place when a run was trained on it, `was`, has it."""
    found = [Path(cache.data_folder)]
    if was is not None:
        # A ".." behind a link means one folder by name and another for the system.
        data = cache.header.data_dir
        found += [Path(os.path.normpath(was.parent / data)), was.parent.resolve() / data]
    return next((folder for folder in found if folder.is_dir()), found[0])


def refuse_mismatch(run: Run, cache: Cache) -> None:
    """Raise a UserError unless a cache has the classes and the features that a run was trained on."""
    if cache.class_names != run.class_names:
        raise UserError(
            f"{cache.file} has the classes {', '.join(cache.class_names)}, but {run.folder} was trained on "
            f"{', '.join(run.class_names)}, in this order; featurize with --classes {','.join(run.class_names)}"
        )
    differ = [
        f"{name} {cache.settings[name]!r} instead of {run.settings[name]!r}"
        for name in run.settings
        if cache.settings[name] != run.settings[name]
    ]
    if cache.feature_version != run.feature_version:
        differ.append(f"feature version {cache.feature_version} instead of {run.feature_version}")
    if differ:
        raise UserError(f"{cache.file} has other features than {run.folder} was trained on: {', '.join(differ)}")


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
            return _checked(_load(archive, config), len(run.class_names))
    except UserError as error:
        raise UserError(f"{file} {error}") from None
    # zipfile, JSON, HDF5 and Keras each fail with exceptions of their own over a damaged file.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{file} is damaged or not a Keras model ({reason}); train again") from None


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
    if isinstance(node, list):
        for item in node:
            _refuse_code(item)
    if not isinstance(node, dict):
        return
    if "class_name" in node:
        module = node.get("module")
        if node["class_name"] == "Lambda":
            raise UserError("holds a Lambda layer, which could run any code; it is not loaded")
        foreign = module is not None and not (isinstance(module, str) and f"{module}.".startswith("keras."))
        if foreign or (module is None and node.get("registered_name") is not None):
            raise UserError(f"holds {node['class_name']!r}, which is not a part of Keras; it is not loaded")
    for value in node.values():
        _refuse_code(value)


def _checked(model: Model, n_classes: int) -> Model:
    shapes: tuple[object, object] = (model.input_shape, model.output_shape)
    if shapes != ((None, *ROW_SHAPE), (None, n_classes)):
        raise UserError(
            f"takes {model.input_shape} to {model.output_shape}, which does not fit the {n_classes} classes in run.json"
        )
    return model
