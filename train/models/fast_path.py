"""The fast path of the notebook's models: the same function of the same weights, and the same training, in less work.

It is for models of pairs of Conv2D (stride 1, "same", ReLU) and MaxPooling2D, then Flatten, Dense and other layers,
compiled with Adam. It saves work in three places.

1.  A clip that is shorter than the input is padded with columns of 0. In the padding, the columns of every layer are
    alike, except near the right end, where a convolution meets the zeros that it adds itself. The fast path computes
    one of the alike columns. The first Dense has weights for each of them, and their sum is applied to the one::

        plain model    | clip ......... | alike | alike | alike | alike | right end |
        fast path      | clip ......... | alike | right end |

2.  In training, the weights for alike columns have the same gradient. Adam treats every weight by its own gradients, so
    it moves them alike. The fast path trains one column of weights, their mean, with the gradient of one of them.

3.  Bias and ReLU come after the pooling, on a quarter of the values. Both are monotone, so the maximum is the same.
"""

from typing import NamedTuple

import numpy as np

from cache.shared.types import Float32
from train.backend.keras import Adam, keras, tf
from train.backend.types import Layer, Model, Tensor, Weights


class Columns(NamedTuple):
    """The columns of the fast path."""

    n_input: int  # columns of its input
    n_edge: int  # columns of the right end, after the last pooling
    n_alike: int  # columns of the plain model, after the last pooling, for which the one before the right end stands


def fewest_columns(plain: Model, n_frames: int) -> Columns:
    """Return the fewest columns that hold clips of `n_frames` frames, one column of padding and the right end."""
    n_clip, n_edge, stride = n_frames, 0, 1
    for conv, pool in _blocks(plain.layers):
        reach, size = conv.kernel_size[1] // 2, pool.pool_size[1]
        n_clip, n_edge = -(-(n_clip + reach) // size), -(-(n_edge + reach) // size)
        stride *= size
    n_columns = plain.input_shape[2]
    n_needed = n_clip + 1 + n_edge
    n_alike = 1 + n_columns // stride - n_needed
    if n_columns % stride or n_alike <= 1:
        return Columns(n_columns, n_edge, 1)
    return Columns(n_needed * stride, n_edge, n_alike)


def fast_to_train(plain: Model, n_frames: int) -> Model:
    """Return the fast path of a model, to train it on clips of at most `n_frames` frames; compiled as `plain` is.

    It trains the variables of `plain`, which serves for nothing else afterwards, and a variable of its own in the place
    of the first Dense's kernel. Its get_weights() and set_weights() are those of `plain`; its input_shape has the
    number of columns that it takes.
    """
    layer = _FastPath(plain, fewest_columns(plain, n_frames))
    clip = keras.Input((plain.input_shape[1], layer.columns.n_input, 1))
    fast: Model = _FastModel(clip, layer(clip), name=f"{plain.name}_in_training")
    fast.compile(optimizer=Adam.from_config(plain.optimizer.get_config()), loss=plain.loss, metrics=["accuracy"])
    return fast


def _blocks(layers: list[Layer]) -> list[tuple[Layer, Layer]]:
    """Return the pairs of Conv2D and MaxPooling2D."""
    n = next(i for i, layer in enumerate(layers) if isinstance(layer, keras.layers.Flatten))
    return list(zip(layers[:n:2], layers[1:n:2], strict=True))


class _FastModel(keras.Model):  # type: ignore[misc]
    """A model of one layer, with the weights of the plain model."""

    def get_weights(self) -> Weights:
        weights: Weights = self.layers[-1].plain_weights()
        return weights

    def set_weights(self, weights: Weights) -> None:
        self.layers[-1].take_weights(weights)


class _FastPath(keras.layers.Layer):  # type: ignore[misc]
    """All layers of a model as one.

    Where columns are alike, the first Dense's kernel stays as it was before training, and `kernel` is trained in its
    place. It has the mean of the weights of the alike columns, which all move as it does.
    """

    def __init__(self, plain: Model, columns: Columns) -> None:
        super().__init__()
        # The layers, not the model: its optimiser and its metrics would become a part of this layer.
        self.layers, self.columns, self.n_classes = plain.layers, columns, plain.output_shape[1]
        self.n_blocks = len(_blocks(self.layers))
        self.n_mels, _, self.n_filters = self.layers[2 * self.n_blocks].input.shape[1:]
        self.built = True
        self.kernel = None
        if columns.n_alike == 1:
            return
        before = self.dense.kernel
        before.trainable = False
        mean = self._with_mean(np.asarray(before))
        self.kernel = self.add_weight(shape=mean.shape, initializer="zeros", name="kernel")
        self.kernel.assign(mean)
        # How many other columns the one of each weight stands for.
        n_columns = self._by_column(mean).shape[1]
        n_others = np.zeros((self.n_mels, n_columns, self.n_filters), np.float32)
        n_others[:, n_columns - 1 - columns.n_edge] = columns.n_alike - 1
        self.n_others = n_others.reshape(-1, 1)

    @property
    def dense(self) -> Layer:
        """The first Dense."""
        return self.layers[2 * self.n_blocks + 1]

    def call(self, x: Tensor, training: bool | None = None) -> Tensor:
        for conv, pool in _blocks(self.layers):
            x = tf.nn.conv2d(x, conv.kernel, 1, "SAME")
            x = tf.nn.max_pool2d(x, pool.pool_size, pool.strides, "VALID")
            x = tf.nn.relu(tf.nn.bias_add(x, conv.bias))
        flatten, dense, *others = self.layers[2 * self.n_blocks :]
        x = dense.activation(tf.nn.bias_add(tf.matmul(flatten(x), self._first_kernel()), dense.bias))
        for layer in others:
            x = layer(x, training=training) if isinstance(layer, keras.layers.Dropout) else layer(x)
        return x

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], self.n_classes)

    def plain_weights(self) -> Weights:
        """Return the weights of the plain model, each of the alike columns moved as far as their mean."""
        weights = [np.asarray(weight) for layer in self.layers for weight in layer.weights]
        if self.kernel is not None:
            before = weights[2 * self.n_blocks]
            clip, alike, edge = self._in_parts(np.asarray(self.kernel) - self._with_mean(before), 1)
            moved = np.concatenate([clip, np.repeat(alike, self.columns.n_alike, axis=1), edge], axis=1)
            weights[2 * self.n_blocks] = before + moved.reshape(before.shape)
        return weights

    def take_weights(self, weights: Weights) -> None:
        """Go on from weights of the plain model."""
        variables = (variable for layer in self.layers for variable in layer.weights)
        for variable, value in zip(variables, weights, strict=True):
            variable.assign(value)
        if self.kernel is not None:
            self.kernel.assign(self._with_mean(weights[2 * self.n_blocks]))

    def _first_kernel(self) -> Tensor:
        """Return what the first Dense has for the columns that are computed, shape (n_rows, n_units)."""
        if self.kernel is None:
            return tf.convert_to_tensor(self.dense.kernel)
        # Its value counts once for each of the alike columns, its gradient is that of one of them.
        return self.kernel.value + tf.stop_gradient(self.kernel.value * self.n_others)

    def _with_mean(self, kernel: Float32) -> Float32:
        """Return a kernel of the plain model in which one column, their mean, replaces the alike ones."""
        clip, alike, edge = self._in_parts(kernel, self.columns.n_alike)
        return np.concatenate([clip, alike.mean(axis=1, keepdims=True), edge], axis=1).reshape(-1, kernel.shape[1])

    def _in_parts(self, kernel: Float32, n_alike: int) -> tuple[Float32, Float32, Float32]:
        """Cut the columns of a kernel into those of the clip, the alike ones, and those of the right end."""
        columns = self._by_column(kernel)
        n_clip = columns.shape[1] - n_alike - self.columns.n_edge
        return columns[:, :n_clip], columns[:, n_clip : n_clip + n_alike], columns[:, n_clip + n_alike :]

    def _by_column(self, kernel: Float32) -> Float32:
        """Return a kernel of the first Dense as (n_mels, n_columns, n_filters x n_units)."""
        return kernel.reshape(self.n_mels, -1, self.n_filters * kernel.shape[1])
