"""export(): a run's model as a file that runs without this project, checked against real clips before it is kept."""

import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

from cache.file.settings import MelSettings
from cache.shared.errors import UserError
from cache.shared.files import as_path, refuse_existing
from train.backend.types import Model, Tensor
from train.exporters.formats import Exportable, ExportFormat, ExportInput, Format, format_called, format_named, known
from train.runs.directory import Run, cache_for, data_folder, load_model, open_run


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

    from train.exporters.check import check, checked_clips

    settings = _mel_settings(opened) if input == ExportInput.waveform else None
    clips = checked_clips(cache, settings, data_folder(cache) if data is None else as_path(data, "data"))
    model = load_model(opened)
    whole = _with_input(model, settings, opened.temperature)
    exportable = Exportable(whole, _metadata(opened, input), [clip.given for clip in clips])
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as beside:
        made = Path(beside) / f"model.{format}"
        _write(writer, exportable, made)
        runtime, run_exported = writer.open_file(made)
        differences = check(model, opened.temperature, clips, run_exported, f"{out} was not kept: run in {runtime}")
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


def _mel_settings(run: Run) -> MelSettings:
    from featurize.features.row import FEATURE_VERSION, computable

    if run.feature_version != FEATURE_VERSION:
        raise UserError(
            f"{run.folder} was trained on version {run.feature_version} of the features, and this program computes "
            f"version {FEATURE_VERSION}; run `python -m featurize` and train again, or export --input features"
        )
    return computable(MelSettings(**run.settings))  # type: ignore[arg-type]  # their types were checked with the run


def _metadata(run: Run, input: ExportInput) -> dict[str, object]:
    return {
        "class_names": list(run.class_names),
        "input": str(input),
        "settings": run.settings,
        "feature_version": run.feature_version,
        "temperature": run.temperature,
        "model": run.record.model,
        "cache_fingerprint": run.record.cache.fingerprint,
        "versions": run.record.versions,
        **(run.record.cropping._asdict() if run.is_cropped else {}),
    }


def _with_input(model: Model, settings: MelSettings | None, temperature: float) -> Model:
    """Return the model with names for its input and its outputs; with settings, it takes waveforms."""
    from train.backend.keras import keras

    def probabilities_of(features: Tensor) -> Tensor:
        probabilities = model(features)
        if temperature == 1:
            return probabilities
        scaled = probabilities ** (1 / temperature)
        return scaled / keras.ops.sum(scaled, axis=1, keepdims=True)

    if settings is None:
        features = keras.Input(model.input_shape[1:], name="features")
        of_features: Model = keras.Model(features, {"probabilities": probabilities_of(features)})
        return of_features

    from train.exporters.frontend import front_end

    waveform = keras.Input((None,), name="waveform")
    features = front_end(settings)(waveform)
    whole: Model = keras.Model(waveform, {"probabilities": probabilities_of(features), "features": features})
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
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(
                f"the model cannot be written as {file.suffix[1:]} ({reason}); try another --format"
            ) from None
