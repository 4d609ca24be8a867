"""LiteRT (TensorFlow Lite): one file, with the metadata in a ZIP archive behind its end."""

import json
from pathlib import Path

from train.exporters.formats import METADATA_FILE, Exportable, Exported

NAME = "LiteRT (TensorFlow Lite)"
SUFFIX = ".tflite"
PACKAGES = {"ai_edge_litert": "ai-edge-litert"}


def write(exportable: Exportable, file: Path) -> None:
    """Write a model."""
    import zipfile

    from train.backend.keras import tf

    model, metadata, _ = exportable
    # The operations that every LiteRT has; those of TensorFlow would need a delegate.
    built_in = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    model.export(str(file), format="litert", verbose=False, target_spec=built_in)
    # LiteRT keeps the files that belong to a model in a ZIP archive behind its end.
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(METADATA_FILE, json.dumps(metadata))


def open_file(file: Path) -> Exported:
    """Open such a file with LiteRT alone."""
    from importlib.metadata import version

    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(str(file)).get_signature_runner()
    (given,) = run.get_input_details()
    return f"LiteRT {version('ai-edge-litert')}", lambda batch: run(**{given: batch})
