"""Export formats: how each writes a model, and runs the file without anything of the program that wrote it.

A new one needs its two functions, its line in `FORMATS` and its name in `ExportFormat`. The help asks for the names
alone, so the libraries are imported within the functions.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

from cache.shared.errors import UserError

if TYPE_CHECKING:
    from cache.shared.types import Float32
    from train.backend.types import Layer, Model

Outputs: TypeAlias = "dict[str, Float32]"
# The name and version of what runs an exported file, and the file as a function of a batch to outputs by name.
Exported: TypeAlias = "tuple[str, Callable[[Float32], Outputs]]"

# The file that holds the metadata in a SavedModel and in a TFLite file.
_METADATA_FILE = "metadata.json"

_Names = TypeVar("_Names", bound=StrEnum)


class ExportFormat(StrEnum):
    """A format of other programs."""

    onnx = "onnx"
    tflite = "tflite"
    saved_model = "saved_model"


class ExportInput(StrEnum):
    """The input of an exported model."""

    waveform = "waveform"
    features = "features"


class Exportable(NamedTuple):
    """A model to write, and what belongs to it."""

    model: "Model"  # a Keras model that has names for its input and its outputs
    metadata: Mapping[str, object]  # what a user of the file needs to know, by name; JSON can hold it
    samples: "Sequence[Float32]"  # inputs of real clips, one each, for a format that has to see some


class Format(NamedTuple):
    """How models are written in a format, and its files are run."""

    name: str  # in the help
    suffix: str  # how its files end; "" for a directory
    packages: Mapping[str, str]  # what both need besides TensorFlow: the name to import, and the name to install
    write: Callable[[Exportable, Path], None]
    open_file: Callable[[Path], Exported]  # a file of this format may have any name


def _write_onnx(exportable: Exportable, file: Path) -> None:
    """Write one file, with the metadata value by value."""
    import onnx

    model, metadata, _ = exportable
    model.export(str(file), format="onnx", input_signature=model.inputs, verbose=False)
    proto = onnx.load(str(file))
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in metadata.items()}
    onnx.helper.set_model_props(proto, texts)
    for value in (*proto.graph.input, *proto.graph.output):
        for dimension, name in zip(value.type.tensor_type.shape.dim, ("n", "n_samples"), strict=False):
            if not dimension.HasField("dim_value"):
                dimension.dim_param = name
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, str(file))


def _open_onnx(file: Path) -> Exported:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file))
    given, outputs = session.get_inputs()[0].name, [output.name for output in session.get_outputs()]
    return (
        f"onnxruntime {onnxruntime.__version__}",
        lambda batch: dict(zip(outputs, session.run(outputs, {given: batch}), strict=True)),
    )


def _write_tflite(exportable: Exportable, file: Path) -> None:
    """Write one file, with the metadata where LiteRT keeps the files of a model: in a ZIP archive behind its end."""
    import zipfile

    from train.backend.keras import tf

    model, metadata, _ = exportable
    # The operations that every LiteRT has; those of TensorFlow would need a delegate.
    built_in = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    model.export(str(file), format="litert", verbose=False, target_spec=built_in)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(_METADATA_FILE, json.dumps(metadata))


def _open_tflite(file: Path) -> Exported:
    from importlib.metadata import version

    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(str(file)).get_signature_runner()
    (given,) = run.get_input_details()
    return f"LiteRT {version('ai-edge-litert')}", lambda batch: run(**{given: batch})


def _write_saved_model(exportable: Exportable, file: Path) -> None:
    """Write a directory, with the metadata where its users add things: in its assets.extra."""
    from train.backend.keras import keras

    model, metadata, _ = exportable
    # model.export() would store every variable twice, as Keras's and as TensorFlow's.
    archive = keras.export.ExportArchive()
    archive.add_endpoint("serve", partial(model, training=False), model.inputs)
    archive.write_out(str(file), verbose=False)
    extra = file / "assets.extra"
    extra.mkdir()
    (extra / _METADATA_FILE).write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")


def _open_saved_model(file: Path) -> Exported:
    from train.backend.keras import tf

    loaded = tf.saved_model.load(str(file))
    run = loaded.signatures["serving_default"]
    (given,) = run.structured_input_signature[1]

    def outputs_of(batch: "Float32", loaded: "Layer" = loaded) -> Outputs:  # its variables live as long as `loaded`
        return {name: output.numpy() for name, output in run(**{given: batch}).items()}

    return f"TensorFlow {tf.__version__}", outputs_of


FORMATS = {
    ExportFormat.onnx: Format(
        "ONNX",
        ".onnx",
        {"onnx": "onnx", "onnxruntime": "onnxruntime", "tf2onnx": "tf2onnx"},
        _write_onnx,
        _open_onnx,
    ),
    ExportFormat.tflite: Format(
        "LiteRT (TensorFlow Lite)", ".tflite", {"ai_edge_litert": "ai-edge-litert"}, _write_tflite, _open_tflite
    ),
    ExportFormat.saved_model: Format("TensorFlow's own", "", {}, _write_saved_model, _open_saved_model),
}


def format_named(name: str | None, out: Path) -> ExportFormat:
    """Return the format of that name, or without one the format that the ending of a file's name stands for."""
    if name is not None:
        return known(ExportFormat, name, "format")
    suffixes = {format.suffix: name for name, format in FORMATS.items()}
    if not out.suffix or out.suffix.lower() not in suffixes:
        raise UserError(f"{out.name} does not end in {endings()}, so name the format: {', '.join(ExportFormat)}")
    return suffixes[out.suffix.lower()]


def known(names: type[_Names], name: str, what: str) -> _Names:
    """Return a name as one of some names; a UserError lists them if it is another."""
    if name not in list(names):
        raise UserError(f"there is no {what} {name!r}; there are {', '.join(names)}")
    return names(name)


def endings() -> str:
    """Return the endings that stand for a format, in words."""
    return " or ".join(format.suffix for format in FORMATS.values() if format.suffix)


def format_called(name: ExportFormat) -> Format:
    """Return a format; a UserError says how to install the packages that it needs."""
    format = FORMATS[name]
    if missing := [package for module, package in format.packages.items() if find_spec(module) is None]:
        raise UserError(
            f"--format {name} needs {' and '.join(missing)}, not installed here; install with"
            " `pip install 'melcache[export]'`, or have everything in .venv with `make install`"
        )
    return format
