"""SavedModel, TensorFlow's own: a directory, with the metadata in its assets.extra."""

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from train.exporters.formats import METADATA_FILE, Exportable, Exported, Outputs

if TYPE_CHECKING:  # the help asks this module for its name, and needs no numpy
    from cache.shared.types import Float32
    from train.backend.types import Layer

NAME = "TensorFlow's own"
SUFFIX = ""
PACKAGES: dict[str, str] = {}


def write(exportable: Exportable, file: Path) -> None:
    """Write a model."""
    from train.backend.keras import keras

    model, metadata, _ = exportable
    # model.export() would store every variable twice, as Keras's and as TensorFlow's.
    archive = keras.export.ExportArchive()
    archive.add_endpoint("serve", partial(model, training=False), model.inputs)
    archive.write_out(str(file), verbose=False)
    # The directory of a SavedModel for what its users add.
    extra = file / "assets.extra"
    extra.mkdir()
    (extra / METADATA_FILE).write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")


def open_file(file: Path) -> Exported:
    """Open such a directory with TensorFlow."""
    from train.backend.keras import tf

    loaded = tf.saved_model.load(str(file))
    run = loaded.signatures["serving_default"]
    (given,) = run.structured_input_signature[1]

    def outputs_of(batch: "Float32", loaded: "Layer" = loaded) -> Outputs:  # its variables live as long as `loaded`
        return {name: output.numpy() for name, output in run(**{given: batch}).items()}

    return f"TensorFlow {tf.__version__}", outputs_of
