"""The formats of other programs: of a model and of predictions, and what they take beside TensorFlow."""

from enum import StrEnum
from importlib.util import find_spec

from cache.shared.errors import UserError


class ExportFormat(StrEnum):
    """A format of other programs."""

    onnx = "onnx"
    tflite = "tflite"
    saved_model = "saved_model"


class PredictFormat(StrEnum):
    """What predictions can be written as."""

    text = "text"
    csv = "csv"
    json = "json"
    audacity = "audacity"
    raven = "raven"


class ExportInput(StrEnum):
    """What an exported model takes."""

    waveform = "waveform"
    features = "features"


# What writes a format and what runs it, to be imported and as it is called where it is installed from.
_PACKAGES = {
    ExportFormat.onnx: {"onnx": "onnx", "onnxruntime": "onnxruntime", "tf2onnx": "tf2onnx"},
    ExportFormat.tflite: {"ai_edge_litert": "ai-edge-litert"},
    ExportFormat.saved_model: {},
}


def refuse_missing_packages(format: ExportFormat) -> None:
    """Raise a UserError that says how to install what a format needs, unless all of that is there."""
    if missing := [package for module, package in _PACKAGES[format].items() if find_spec(module) is None]:
        raise UserError(
            f"--format {format} needs {' and '.join(missing)}, not installed here; install with"
            " `pip install 'melcache[export]'`, or have everything in .venv with `make install`"
        )
