"""graph_of(): a Keras model as an ONNX graph, written layer by layer, for a runtime that starts at once.

TensorFlow's own converters take one to two seconds a model, and longer to import; the models here need 15 layers. A
tensor of four axes is (n, rows, columns, channels) in Keras and (n, channels, rows, columns) in ONNX: the graph changes
over at its input, and back where a layer mixes these axes.

A gate is a tensor with a number for each column of another one, which a layer multiplies by it, as `compact` silences
columns without sound. These products take a third of the time, mostly to change the layout of the other tensor to and
from that of the convolutions. So the graph has two branches, one without them for when all gates are 1.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Any

import numpy as np

# Versions that onnxruntime 1.20, the oldest that is taken, reads for certain.
_OPSET = 18
_IR_VERSION = 9
INPUT, OUTPUT = "features", "probabilities"


class NoNetwork(Exception):
    """There is no network that can be used; the message ends the sentence "the network cannot be used: ..."."""


def graph_of(model: Any, variable_width: bool, metadata: dict[str, str]) -> bytes:
    """Return a Keras model as the bytes of an ONNX file that carries these texts.

    The input is (n, 128, n_columns, 1), the output (n, n_classes). With a variable width the model computes the same
    function at any width, so that the graph takes any. Raises a NoNetwork if a layer of the model, or a setting of one,
    is not written here.
    """
    from onnx import TensorProto, helper

    graph = _Graph(variable_width)
    _, height, width, n_channels = model.input_shape
    features = graph.add("Transpose", [INPUT], perm=[0, 3, 1, 2])
    graph.names[id(model.inputs[0])] = _without_padding(graph, features) if variable_width else features
    made = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", model.output_shape[1]])
    layers = [layer for layer in model.layers if type(layer).__name__ != "InputLayer"]
    gates = {id(gate): gate for gate in map(_gate, layers) if gate is not None}
    to_gates = _behind(layers, gates)
    for layer in to_gates:
        _add(graph, layer)
    others = [layer for layer in layers if layer not in to_gates]
    if gates:
        names = [graph.name_of(gate) for gate in gates.values()]
        least = graph.add("Min", [graph.add("ReduceMin", [name], keepdims=0) for name in names])
        branches = {
            f"{name}_branch": helper.make_graph(_branch(graph, model, others, is_open).nodes, name, [], [made])
            for name, is_open in (("then", True), ("else", False))
        }
        are_open = graph.add("Equal", [least, graph.weight(np.float32(1))])
        graph.nodes.append(helper.make_node("If", [are_open], [OUTPUT], **branches))
    else:
        graph.nodes += _branch(graph, model, others, is_open=False).nodes
    columns = "n_columns" if variable_width else width
    proto = helper.make_model(
        helper.make_graph(
            graph.nodes,
            model.name,
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n", height, columns, n_channels])],
            [made],
            list(graph.weights.values()),
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
    )
    helper.set_model_props(proto, metadata)
    return bytes(proto.SerializeToString())


class _Graph:
    """Nodes and weights as they are added, and what each tensor of the Keras model is called among them."""

    def __init__(self, variable_width: bool) -> None:
        self.variable_width = variable_width
        self.is_open = False  # All gates are 1.
        self.nodes: list[Any] = []
        self.weights: dict[tuple[Any, bytes], Any] = {}
        self.names: dict[int, str] = {}
        self.numbers = count()

    def branch(self, is_open: bool) -> "_Graph":
        """Return a graph within this one, which has its weights and may use its tensors."""
        within = _Graph(self.variable_width)
        within.is_open, within.names = is_open, dict(self.names)
        within.weights, within.numbers = self.weights, self.numbers
        return within

    def name_of(self, tensor: Any) -> str:
        if id(tensor) not in self.names:
            raise NoNetwork("it uses a layer twice, or does not begin at its input")
        return self.names[id(tensor)]

    def add(self, operation: str, inputs: list[str], **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        from onnx import helper

        name = f"t{next(self.numbers)}"
        self.nodes.append(helper.make_node(operation, inputs, [name], **attributes))
        return name

    def weight(self, values: Any) -> str:
        """Add a constant, once, and return its name."""
        from onnx import numpy_helper

        array = np.ascontiguousarray(values)
        key = ((array.shape, array.dtype.str), array.tobytes())
        if key not in self.weights:
            self.weights[key] = numpy_helper.from_array(array, f"w{len(self.weights)}")
        name: str = self.weights[key].name
        return name


def _branch(graph: _Graph, model: Any, layers: Iterable[Any], is_open: bool) -> _Graph:
    """Return a branch with the layers, which ends in the output."""
    from onnx import helper

    branch = graph.branch(is_open)
    for layer in layers:
        _add(branch, layer)
    branch.nodes.append(helper.make_node("Identity", [branch.name_of(model.outputs[0])], [OUTPUT]))
    return branch


def _without_padding(graph: _Graph, features: str) -> str:
    """Cut off the columns at the end that are 0 in all rows, which mean nothing to a model of variable width."""
    axes = [graph.weight(np.array([0, 1, 2], np.int64))]
    sound = graph.add("Sign", [graph.add("ReduceMax", [features, *axes], keepdims=0)])
    # The last column, and so all of them, if none has sound.
    last = graph.add("ArgMax", [sound], axis=0, select_last_index=1)
    start, one, axis = (graph.weight(np.array([value], np.int64)) for value in (0, 1, 3))
    return graph.add("Slice", [features, start, graph.add("Add", [last, one]), axis])


def _tensors(layer: Any) -> tuple[list[Any], Any]:
    """Return the inputs and the outputs of a layer."""
    try:
        given, made = layer.input, layer.output
    except (AttributeError, ValueError):
        raise NoNetwork("it uses a layer twice") from None
    return given if isinstance(given, list) else [given], made


def _gate(layer: Any) -> Any:
    """Return the tensor by which a layer multiplies the columns of another; None for any other layer."""
    if type(layer).__name__ != "Multiply":
        return None
    gate = _tensors(layer)[0][-1]
    return gate if len(gate.shape) == 4 and (gate.shape[1], gate.shape[3]) == (1, 1) else None


def _behind(layers: list[Any], gates: Iterable[int]) -> list[Any]:
    """Return the layers on which some tensors depend, given the ids of these."""
    found, needed = [], set(gates)
    for layer in reversed(layers):
        given, made = _tensors(layer)
        if id(made) in needed:
            found.append(layer)
            needed.update(map(id, given))
    return found[::-1]


def _add(graph: _Graph, layer: Any) -> None:
    kind = type(layer).__name__
    if kind not in _WRITERS:
        raise NoNetwork(f"it has a layer {kind}")
    given, made = _tensors(layer)
    graph.names[id(made)] = _WRITERS[kind](graph, layer, [graph.name_of(tensor) for tensor in given])


def _activated(graph: _Graph, layer: Any, name: str) -> str:
    kind = layer.activation.__name__
    if kind == "linear":
        return name
    if kind == "relu":
        return graph.add("Relu", [name])
    if kind == "softmax" and len(layer.output.shape) == 2:
        return graph.add("Softmax", [name], axis=-1)
    raise NoNetwork(f"it has the activation {kind}")


def _padding(graph: _Graph, layer: Any, size: Sequence[int]) -> list[int]:
    """Return how many zeros a layer adds above, left, below and right.

    At a variable width the last columns may not fill a stride: zeros fill it, as padding would at another width.
    """
    before, after = [], []
    for length, n, stride in zip(layer.input.shape[1:3], size, layer.strides, strict=True):
        n_zeros = max(0, (-(-length // stride) - 1) * stride + n - length) if layer.padding == "same" else 0
        before.append(n_zeros // 2)
        after.append(n_zeros - n_zeros // 2)
    after[1] += (layer.strides[1] - 1) * graph.variable_width
    return [*before, *after]


def _conv(graph: _Graph, layer: Any, inputs: list[str]) -> str:
    if layer.groups != 1 or tuple(layer.dilation_rate) != (1, 1):
        raise NoNetwork("it has a grouped or dilated convolution")
    weights = [graph.weight(np.asarray(layer.kernel).transpose(3, 2, 0, 1))]
    weights += [graph.weight(np.asarray(layer.bias))] if layer.use_bias else []
    made = graph.add(
        "Conv", [*inputs, *weights], strides=list(layer.strides), pads=_padding(graph, layer, layer.kernel_size)
    )
    return _activated(graph, layer, made)


def _pool(operation: str) -> Callable[[_Graph, Any, list[str]], str]:
    def write(graph: _Graph, layer: Any, inputs: list[str]) -> str:
        size, strides = list(layer.pool_size), list(layer.strides)
        return graph.add(operation, inputs, kernel_shape=size, strides=strides, pads=_padding(graph, layer, size))

    return write


def _batch_normalization(graph: _Graph, layer: Any, inputs: list[str]) -> str:
    if len(layer.output.shape) != 4 or layer.axis not in (-1, 3) or not (layer.scale and layer.center):
        raise NoNetwork("it normalises another axis than its channels")
    values = (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
    weights = [graph.weight(np.asarray(value)) for value in values]
    return graph.add("BatchNormalization", [*inputs, *weights], epsilon=float(layer.epsilon))


def _dense(graph: _Graph, layer: Any, inputs: list[str]) -> str:
    made = graph.add("MatMul", [*inputs, graph.weight(np.asarray(layer.kernel))])
    if layer.use_bias:
        made = graph.add("Add", [made, graph.weight(np.asarray(layer.bias))])
    return _activated(graph, layer, made)


def _relu(graph: _Graph, layer: Any, inputs: list[str]) -> str:
    if layer.negative_slope or layer.threshold:
        raise NoNetwork("it has a leaky ReLU")
    if layer.max_value is None:
        return graph.add("Relu", inputs)
    limits = [graph.weight(np.float32(value)) for value in (0, layer.max_value)]
    return graph.add("Clip", [*inputs, *limits])


def _rescaling(graph: _Graph, layer: Any, inputs: list[str]) -> str:
    scaled = graph.add("Mul", [*inputs, graph.weight(np.float32(layer.scale))])
    return graph.add("Add", [scaled, graph.weight(np.float32(layer.offset))])


def _channels_last(graph: _Graph, layer: Any, inputs: list[str]) -> list[str]:
    if len(layer.input.shape) == 4:
        return [graph.add("Transpose", inputs, perm=[0, 2, 3, 1])]
    return inputs


def _reshape(graph: _Graph, layer: Any, inputs: list[str]) -> str:
    shape = [0, *layer.target_shape]
    if len(shape) == 4:
        raise NoNetwork("it reshapes to four axes")
    return graph.add("Reshape", [*_channels_last(graph, layer, inputs), graph.weight(np.array(shape, np.int64))])


def _flatten(graph: _Graph, layer: Any, inputs: list[str]) -> str:
    return graph.add("Flatten", _channels_last(graph, layer, inputs), axis=1)


def _softmax(graph: _Graph, layer: Any, inputs: list[str]) -> str:
    if len(layer.output.shape) == 4:
        raise NoNetwork("it has a softmax over four axes")
    return graph.add("Softmax", inputs, axis=layer.axis)


def _dot(graph: _Graph, layer: Any, inputs: list[str]) -> str:
    if layer.axes != 1 or layer.normalize or any(len(tensor.shape) != 3 for tensor in layer.input):
        raise NoNetwork("it has a dot product over other axes")
    left, right = inputs
    return graph.add("MatMul", [graph.add("Transpose", [left], perm=[0, 2, 1]), right])


def _multiply(graph: _Graph, layer: Any, inputs: list[str]) -> str:
    if len(inputs) != 2:
        raise NoNetwork("it multiplies more than two tensors")
    if graph.is_open and _gate(layer) is not None:
        return inputs[0]
    return graph.add("Mul", inputs)


def _concatenate(graph: _Graph, layer: Any, inputs: list[str]) -> str:
    if any(len(tensor.shape) == 4 for tensor in layer.input):
        raise NoNetwork("it joins tensors of four axes")
    return graph.add("Concat", inputs, axis=layer.axis)


def _pool_all(operation: str, *axes: int) -> Callable[[_Graph, Any, list[str]], str]:
    def write(graph: _Graph, layer: Any, inputs: list[str]) -> str:
        return graph.add(operation, [*inputs, graph.weight(np.array(axes, np.int64))], keepdims=int(layer.keepdims))

    return write


_WRITERS: dict[str, Callable[[_Graph, Any, list[str]], str]] = {
    "Conv2D": _conv,
    "MaxPooling2D": _pool("MaxPool"),
    "AveragePooling2D": _pool("AveragePool"),
    "BatchNormalization": _batch_normalization,
    "Dense": _dense,
    "ReLU": _relu,
    "Rescaling": _rescaling,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Softmax": _softmax,
    "Dot": _dot,
    "Multiply": _multiply,
    "Concatenate": _concatenate,
    "GlobalMaxPooling1D": _pool_all("ReduceMax", 1),
    "GlobalMaxPooling2D": _pool_all("ReduceMax", 2, 3),
    "GlobalAveragePooling1D": _pool_all("ReduceMean", 1),
    "GlobalAveragePooling2D": _pool_all("ReduceMean", 2, 3),
    "Dropout": lambda graph, layer, inputs: inputs[0],
}
