"""export(): a run's model as a file that runs without this project, checked against real clips before it is kept."""

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cache.shared.errors import UserError
from train.exporters.formats import ExportInput, Format, format_called, format_named, input_named
from train.runs.directory import Run, open_run
from train.runs.load import cache_for, data_folder, load_model


def export(
    run: str | Path,
    out: str | Path,
    format: str | None = None,
    input: str = ExportInput.waveform,
    cache_file: str | Path | None = None,
    data: str | Path | None = None,
) -> dict[str, Any]:
    """Write a run's model in a format of other programs.

    Parameters
    ----------
    run
        The run directory of a fit.
    out
        The file to make, or for a SavedModel the directory.
    format
        "onnx", "tflite" or "saved_model"; None: the one that the ending of `out` stands for.
    input
        "waveform": mono waveforms at the rate of the features, shape (n, n_samples), with the features computed inside;
        "features": rows of a cache, shape (n, 128, 128, 1). The outputs are `probabilities` (n, n_classes) and, of a
        waveform, `features` (n, 128, 128, 1).
    cache_file
        Whose clips to check it on; None: the cache that the run was trained on, where it was.
    data
        The folder of those clips; None: the one that the cache names.

    Returns
    -------
    dict
        `run`, `file`, `format`, `input`, `n_bytes`, the `runtime` it was checked in, the `cache` it was checked on and
        `n_checked` of its clips, and the `largest_difference` by output.

    Raises
    ------
    UserError
        There is no such format or input, something is at `out` already, a package is missing, the run, the cache or its
        clips cannot be used, or the written file does not compute what featurize and the model do; then nothing is left
        at `out`.
    """
    out = Path(out)
    format = format_named(format, out)
    input = input_named(input)
    _refuse_existing(out)
    writer = format_called(format)
    opened = open_run(run)
    cache = cache_for(
        opened,
        None if cache_file is None else Path(cache_file),
        "and an export is checked on its clips; name a cache of the same features with --cache",
    )

    from train.exporters.check import check, checked_clips

    settings = _mel_settings(opened) if input == ExportInput.waveform else None
    clips = checked_clips(cache, settings, data_folder(cache) if data is None else Path(data))
    model = load_model(opened)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as beside:
        made = Path(beside) / f"model.{format}"
        _write(writer, _with_input(model, settings, opened.temperature), made, _metadata(opened, input))
        runtime, run_exported = writer.open_file(made)
        differences = check(model, opened.temperature, clips, run_exported, f"{out} was not kept: run in {runtime}")
        _refuse_existing(out)
        n_bytes = sum(file.stat().st_size for file in (made, *made.rglob("*")) if file.is_file())
        made.replace(out)
    return {
        "run": str(run),
        "file": str(out),
        "format": str(format),
        "input": str(input),
        "n_bytes": n_bytes,
        "runtime": runtime,
        "cache": str(cache.file),
        "n_checked": len(clips),
        "largest_difference": differences,
    }


def _refuse_existing(out: Path) -> None:
    if out.exists() or out.is_symlink():
        raise UserError(f"{out} exists already; give another name, or delete it first")
    if not out.parent.is_dir():
        raise UserError(f"{out.parent}: there is no such directory to write {out.name} into; make it first")


def _mel_settings(run: Run) -> Any:
    from cache.file.settings import MelSettings
    from featurize.features.row import FEATURE_VERSION, computable

    if run.feature_version != FEATURE_VERSION:
        raise UserError(
            f"{run.folder} was trained on version {run.feature_version} of the features, and this program computes "
            f"version {FEATURE_VERSION}; run `python -m featurize` and train again, or export --input features"
        )
    return computable(MelSettings(**run.settings))  # type: ignore[arg-type]  # their types were checked with the run


def _metadata(run: Run, input: ExportInput) -> dict[str, Any]:
    return {
        "class_names": list(run.class_names),
        "input": str(input),
        "settings": run.settings,
        "feature_version": run.feature_version,
        "temperature": run.temperature,
        "model": run.record.model,
        "cache_fingerprint": run.record.cache.fingerprint,
        "versions": run.record.versions,
    }


def _with_input(model: Any, settings: Any, temperature: float) -> Any:
    """Return the model with names for what goes in and comes out, taking waveforms if there are settings to do so."""
    from train.backend.keras import keras

    def probabilities_of(features: Any) -> Any:
        probabilities = model(features)
        if temperature == 1:
            return probabilities
        scaled = probabilities ** (1 / temperature)
        return scaled / keras.ops.sum(scaled, axis=1, keepdims=True)

    if settings is None:
        features = keras.Input(model.input_shape[1:], name="features")
        return keras.Model(features, {"probabilities": probabilities_of(features)})

    from train.exporters.frontend import front_end

    waveform = keras.Input((None,), name="waveform")
    features = front_end(settings)(waveform)
    return keras.Model(waveform, {"probabilities": probabilities_of(features), "features": features})


def _write(writer: Format, model: Any, file: Path, metadata: Mapping[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the inside of the converters
        try:
            writer.write(model, file, metadata)
        except OSError:
            raise
        # What a converter does not know, or has no room for, it answers with an exception of its own.
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(
                f"the model cannot be written as {file.suffix[1:]} ({reason}); try another --format"
            ) from None
