"""export(): a run's model as a file that runs without this project, checked against real clips before it is kept."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cache import Cache
from cache.file.settings import MelSettings
from cache.shared.errors import UserError, reason_in
from cache.shared.files import as_path, folder_beside, refuse_existing
from cache.shared.types import Float32
from train.backend.types import Model, Tensor
from train.exporters.formats import (
    Exportable,
    ExportFormat,
    ExportInput,
    Format,
    Outputs,
    format_called,
    format_named,
    known,
)
from train.models.calibration import calibrated
from train.models.inference import forward
from train.predict.windows import settings_of
from train.runs.directory import Run, cache_for, data_folder, load_model, open_run

# Largest allowed difference between an exported file and the original, of features and of probabilities.
TOLERANCE = 1e-3
N_CHECKED = 32


@dataclass(frozen=True)
class Export:
    """A file that was exported, and its check."""

    run: str
    file: str
    format: ExportFormat
    input: ExportInput
    n_bytes: int
    runtime: str  # what ran the file for the check, with its version
    cache: str
    n_checked: int  # how many clips of the cache the file was checked on
    largest_difference: dict[str, float]  # from the original, by output


def export(
    run: str | Path,
    out: str | Path,
    format: str | None = None,
    input: str = ExportInput.waveform,
    cache_file: str | Path | None = None,
    data: str | Path | None = None,
) -> Export:
    """Write a run's model in a format of other programs.

    Raises a UserError if something is at `out` already, a package is missing, the run, the cache or its clips cannot be
    used, or the written file does not compute what featurize and the model do; then nothing is left at `out`.

    Parameters
    ----------
    out
        The file to make, or for a SavedModel the directory.
    format
        "onnx", "tflite" or "saved_model"; None: the one that the ending of `out` stands for.
    input
        "waveform": mono waveforms at the rate of the features, shape (n, n_samples); the model computes the features
        itself. "features": rows of a cache, shape (n, 128, 128, 1). The outputs are `probabilities` (n, n_classes) and,
        from a waveform, `features` (n, 128, 128, 1).
    cache_file
        The cache whose clips to check it on; None: the one that the run was trained on, where it was.
    data
        The folder of those clips; None: the one that the cache names.
    """
    out = as_path(out, "out")
    format, input = format_named(format, out), known(ExportInput, input, "input")
    _refuse_existing(out)
    writer = format_called(format)
    opened = open_run(run)
    file = None if cache_file is None else as_path(cache_file, "cache_file")
    otherwise = "and an export is checked on its clips; name a cache of the same features with --cache"
    cache = cache_for(opened, file, otherwise)
    settings = settings_of(opened, ", or export --input features") if input == ExportInput.waveform else None
    clips = checked_clips(cache, settings, data_folder(cache) if data is None else as_path(data, "data"))
    model = load_model(opened)
    whole = _with_input(model, settings, opened.temperature)
    exportable = Exportable(whole, _metadata(opened, input), [clip.given for clip in clips])
    with folder_beside(out) as beside:
        made = beside / f"model.{format}"
        _write(writer, exportable, made)
        runtime, run_exported = writer.open_file(made)
        differences = _check(model, opened.temperature, clips, run_exported, f"{out} was not kept: run in {runtime}")
        _refuse_existing(out)
        n_bytes = sum(part.stat().st_size for part in (made, *made.rglob("*")) if part.is_file())
        made.replace(out)
    return Export(
        str(run), str(out), format, input, n_bytes, runtime, str(cache.file), len(clips), largest_difference=differences
    )


def _refuse_existing(out: Path) -> None:
    refuse_existing(out, "name")
    if not out.parent.is_dir():
        raise UserError(f"{out.parent}: there is no such directory to write {out.name} into; make it first")


def _metadata(run: Run, input: ExportInput) -> dict[str, object]:
    return {
        "class_names": list(run.class_names),
        "input": str(input),
        "settings": run.record.settings,
        "feature_version": run.record.feature_version,
        "temperature": run.temperature,
        "model": run.record.model,
        "cache_fingerprint": run.record.cache.fingerprint,
        "versions": run.record.versions,
        **(run.record.cropping._asdict() if run.is_cropped else {}),
    }


def _with_input(model: Model, settings: MelSettings | None, temperature: float) -> Model:
    """Return the model with names for its input and its outputs; with settings, it takes waveforms."""
    from train.backend.keras import keras
    from train.exporters.frontend import FrontEnd

    name, shape = ("features", model.input_shape[1:]) if settings is None else ("waveform", (None,))
    given = keras.Input(shape, name=name)
    features = given if settings is None else FrontEnd(settings)(given)
    probabilities: Tensor = model(features)
    if temperature != 1:
        probabilities = probabilities ** (1 / temperature)
        probabilities /= keras.ops.sum(probabilities, axis=1, keepdims=True)
    outputs = {"probabilities": probabilities} | ({} if settings is None else {"features": features})
    whole: Model = keras.Model(given, outputs)
    return whole


def _write(writer: Format, exportable: Exportable, file: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the inside of the converters
        try:
            writer.write(exportable, file)
        except OSError:
            raise
        # Each converter has exceptions of its own for models that it does not know or has no room for.
        except Exception as error:
            raise UserError(
                f"the model cannot be written as {file.suffix[1:]} ({reason_in(error)}); try another --format"
            ) from None


class CheckedClip(NamedTuple):
    """A clip to check on: the input of the exported file, (n_samples,) or (128, 128, 1), and the true features."""

    path: str
    given: Float32
    features: Float32


def checked_clips(cache: Cache, settings: MelSettings | None, data: Path) -> list[CheckedClip]:
    """Read some clips of a cache, from the shortest to the longest; their paths are relative to `data`.

    With settings, for a file that takes waveforms, featurize reads the clips again; without, they are rows of the
    cache. Raises a UserError if none of the clips is there unchanged.
    """
    order = np.argsort(cache.columns["n_frames"], kind="stable")
    rows = order[np.unique(np.linspace(0, len(order) - 1, N_CHECKED).astype(int))]
    if settings is None:
        features = np.asarray(cache.X[rows], np.float32)
        return [CheckedClip(cache.paths[row], x, x) for row, x in zip(rows.tolist(), features, strict=True)]
    paths, clip_paths = cache.paths, cache.clip_paths
    clips = [
        _read_clip(settings, data, paths[row], clip_paths[cache.clips[row]], cache.columns["sha256"][row].decode())
        for row in rows.tolist()
    ]
    found = [clip for clip in clips if clip is not None]
    if not found:
        raise UserError(
            f"none of {len(clips)} clips of {cache.file} is unchanged in {data}, and an export is checked on them; say"
            " where they are with --data, name another cache with --cache, or export --input features"
        )
    return found


def _read_clip(settings: MelSettings, data: Path, path: str, clip: str, sha256: str) -> CheckedClip | None:
    """Read a row by its path; None if the content of its clip has another digest."""
    from featurize import featurize_clip
    from featurize.audio.audio import ClipError
    from featurize.audio.pieces import open_clip
    from featurize.audio.resample import mono_blocks

    try:
        with open_clip(str(data / clip)) as audio:
            if audio.sha256() != sha256:
                return None
        with open_clip(str(data / path)) as audio:
            waveform = np.concatenate([block.copy() for block in mono_blocks(audio, settings.sr)])
        return CheckedClip(path, waveform, featurize_clip(data / path, settings))
    except (ClipError, OSError):
        return None


def _check(
    model: Model, temperature: float, clips: Sequence[CheckedClip], exported: Callable[[Float32], Outputs], failure: str
) -> dict[str, float]:
    """Return the largest absolute difference of each output of an exported file from the original, over all clips.

    The original is the run's model, calibrated with `temperature`; the file is a function of a batch to its outputs by
    name. Raises a UserError that begins with `failure` if a difference is more than `TOLERANCE`, or not a number.
    """
    probabilities = calibrated(forward(model)(np.stack([clip.features for clip in clips])), temperature)
    largest: dict[str, float] = {}
    for clip, expected in zip(clips, probabilities, strict=True):
        outputs = exported(clip.given[None])
        for name, true in (("features", clip.features), ("probabilities", expected)):
            if name not in outputs:
                continue
            difference = float(np.abs(outputs[name][0] - true).max())
            if not difference <= TOLERANCE:
                raise UserError(
                    f"{failure}, its {name} of {clip.path} differ from the original's by {difference:.2g}, which is"
                    f" more than {TOLERANCE:g}; try another --format"
                )
            largest[name] = max(largest.get(name, 0.0), difference)
    return largest
