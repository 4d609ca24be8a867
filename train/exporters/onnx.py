"""ONNX: the format of onnxruntime, in one file with the metadata value by value."""

import json
from pathlib import Path

from train.exporters.formats import Exportable, Exported

NAME = "ONNX"
SUFFIX = ".onnx"
PACKAGES = {"onnx": "onnx", "onnxruntime": "onnxruntime", "tf2onnx": "tf2onnx"}


def write(exportable: Exportable, file: Path) -> None:
    """Write a model."""
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


def open_file(file: Path) -> Exported:
    """Open such a file with onnxruntime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file))
    given, outputs = session.get_inputs()[0].name, [output.name for output in session.get_outputs()]
    return (
        f"onnxruntime {onnxruntime.__version__}",
        lambda batch: dict(zip(outputs, session.run(outputs, {given: batch}), strict=True)),
    )
