"""equivalent(): the same function of the same variables as a plain CNN, in less work, to train through."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from train.backend.adam import Adam
from train.backend.keras import keras, tf


class Width(NamedTuple):
    """How much of the time axis is computed.

    Attributes
    ----------
    n_columns
        Columns of the input.
    n_edge
        Columns at the right end, before Flatten, that depend on what a convolution finds beyond the input.
    n_like
        Columns of the plain model that the one before those stands for.
    """

    n_columns: int
    n_edge: int
    n_like: int


def equivalent(plain: Any, n_frames: int, is_final: bool = False) -> Any:
    """Return a model that is the same function as `plain` on clips of at most `n_frames` frames, and trains faster.

    It reads and trains the variables of `plain`, all but one; its `get_weights` and `set_weights` are those of `plain`.
    Three things are spared:

    The columns from `n_frames` on are 0, so from some column on all columns of every layer are alike, up to those that
    the zeros around a convolution reach from the right. One of the like columns is computed; what the first Dense has
    for each of them is added up and applied to that one.

    So the weights that the first Dense has for like columns have the same gradient, and Adam, which treats every weight
    by its own gradients, moves them alike: one column of weights, their mean, is trained for all of them.

    Bias and ReLU come after the pooling, on a quarter of the values. Both are monotone, so the maximum is the same.

    Parameters
    ----------
    plain
        A keras.Sequential compiled with Adam: pairs of Conv2D (stride 1, "same", relu) and MaxPooling2D, then Flatten,
        Dense, the rest. It serves for nothing else afterwards unless `is_final`.
    n_frames
        Frames of the longest clip, at least 1.
    is_final
        Whether the variables will never change again, which spares some work more.

    Returns
    -------
    keras.Model
        Compiled as `plain` is, unless its weights are final; its `input_shape` says how many columns it takes.
    """
    width = narrowest(plain, n_frames)
    clip = keras.Input((plain.input_shape[1], width.n_columns, 1))
    layer = _Equivalent(plain, width, is_final)
    model = _Model(clip, layer(clip), name=f"{plain.name}_in_training")
    if is_final:
        return model
    model.compile(optimizer=Adam.from_config(plain.optimizer.get_config()), loss=plain.loss, metrics=["accuracy"])
    return model


def narrowest(plain: Any, n_frames: int) -> Width:
    """Return the least width on which the clips and one column of padding can be computed."""
    first, n_edge, stride = n_frames, 0, 1  # the first column of padding; columns that the right end reaches
    for conv, pool in _blocks(plain):
        reach, size = conv.kernel_size[1] // 2, pool.pool_size[1]
        first, n_edge = -(-(first + reach) // size), -(-(n_edge + reach) // size)
        stride *= size
    n_columns = plain.input_shape[2]
    n_needed = first + 1 + n_edge
    n_like = 1 + n_columns // stride - n_needed
    if n_columns % stride or n_like <= 1:
        return Width(n_columns, n_edge, 1)
    return Width(n_needed * stride, n_edge, n_like)


def _blocks(plain: Any) -> list[tuple[Any, Any]]:
    n = next(i for i, layer in enumerate(plain.layers) if isinstance(layer, keras.layers.Flatten))
    return list(zip(plain.layers[:n:2], plain.layers[1:n:2], strict=True))


class _Model(keras.Model):  # type: ignore[misc]
    """Its weights from outside are those of the plain model."""

    def get_weights(self) -> list[npt.NDArray[Any]]:
        return self.layers[-1].plain_weights()  # type: ignore[no-any-return]

    def set_weights(self, weights: list[npt.NDArray[Any]]) -> None:
        self.layers[-1].take_weights(weights)


class _Equivalent(keras.layers.Layer):  # type: ignore[misc]
    def __init__(self, plain: Any, width: Width, is_final: bool) -> None:
        super().__init__()
        # The layers, not the model: its own optimiser and metrics would count as a part of this.
        self.layers, self.n_blocks, self.width = list(plain.layers), len(_blocks(plain)), width
        self.n_classes = plain.output_shape[1]
        self.n_mels, _, self.n_filters = self.layers[2 * self.n_blocks].input.shape[1:]
        self.kernel = None
        if width.n_like > 1 and not is_final:
            # The plain one stays as it was before training; it says where the weights of like columns were.
            start = self.dense.kernel
            start.trainable = False
            narrow = self._narrow(np.asarray(start))
            self.kernel = self.add_weight(shape=narrow.shape, initializer="zeros", name="kernel")
            self.kernel.assign(narrow)
            # How many columns more than itself each column stands for.
            n_columns = self._columns(narrow).shape[1]
            self.n_others = np.zeros((1, n_columns, 1), np.float32)
            self.n_others[:, n_columns - 1 - width.n_edge] = width.n_like - 1
        self.built = True

    @property
    def dense(self) -> Any:
        """The first Dense."""
        return self.layers[2 * self.n_blocks + 1]

    def plain_weights(self) -> list[npt.NDArray[Any]]:
        """Return the weights of the plain model."""
        weights = [np.asarray(weight) for layer in self.layers for weight in layer.weights]
        if self.kernel is not None:
            start = weights[2 * self.n_blocks]
            clip, like, edge = self._parts(self._columns(np.asarray(self.kernel) - self._narrow(start)), 1)
            moved = np.concatenate([clip, np.repeat(like, self.width.n_like, axis=1), edge], axis=1)
            weights[2 * self.n_blocks] = start + moved.reshape(start.shape)
        return weights

    def take_weights(self, weights: list[npt.NDArray[Any]]) -> None:
        """Go on from weights of the plain model."""
        for variable, value in zip((w for layer in self.layers for w in layer.weights), weights, strict=True):
            variable.assign(value)
        if self.kernel is not None:
            self.kernel.assign(self._narrow(weights[2 * self.n_blocks]))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], self.n_classes)

    def call(self, x: Any, training: bool | None = None) -> Any:
        blocks, (flatten, dense, *rest) = self.layers[: 2 * self.n_blocks], self.layers[2 * self.n_blocks :]
        for conv, pool in zip(blocks[::2], blocks[1::2], strict=True):
            x = tf.nn.conv2d(x, conv.kernel, 1, "SAME")
            x = tf.nn.max_pool2d(x, pool.pool_size, pool.strides, "VALID")
            x = tf.nn.relu(tf.nn.bias_add(x, conv.bias))
        x = dense.activation(tf.nn.bias_add(tf.matmul(flatten(x), self._applied()), dense.bias))
        for layer in rest:
            x = layer(x, training=training) if isinstance(layer, keras.layers.Dropout) else layer(x)
        return x

    def _applied(self) -> Any:
        """Return the first Dense's kernel for the columns that are computed, shape (rows, units)."""
        if self.kernel is not None:
            # Applied for all like columns, with the gradient of one.
            others = tf.reshape(self._columns(self.kernel.value) * self.n_others, self.kernel.shape)
            return self.kernel.value + tf.stop_gradient(others)
        kernel = tf.convert_to_tensor(self.dense.kernel)
        if self.width.n_like == 1:
            return kernel
        with tf.init_scope():
            # Only weights that are final come here: what is summed up of them is computed once, of the value they have.
            kernel = tf.convert_to_tensor(self.dense.kernel)
            clip, like, edge = self._parts(self._columns(kernel), self.width.n_like)
            columns = tf.concat([clip, tf.reduce_sum(like, axis=1, keepdims=True), edge], axis=1)
            return tf.reshape(columns, (-1, kernel.shape[1]))

    def _narrow(self, kernel: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Put the mean of the weights of like columns in their place, shape (n_mels * n_columns * n_filters, units)."""
        clip, like, edge = self._parts(self._columns(kernel), self.width.n_like)
        narrow = np.concatenate([clip, like.mean(axis=1, keepdims=True), edge], axis=1)
        return narrow.reshape(-1, kernel.shape[1])

    def _columns(self, kernel: Any) -> Any:
        shape = (self.n_mels, -1, self.n_filters * kernel.shape[1])
        return kernel.reshape(shape) if isinstance(kernel, np.ndarray) else tf.reshape(kernel, shape)

    def _parts(self, columns: Any, n_like: int) -> tuple[Any, Any, Any]:
        """Cut columns of weights into those of the clip, of what is alike, and of the right end."""
        n_clip = columns.shape[1] - n_like - self.width.n_edge
        return columns[:, :n_clip], columns[:, n_clip : n_clip + n_like], columns[:, n_clip + n_like :]
