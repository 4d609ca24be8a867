"""equivalent(): the same function of the same variables as a plain CNN, in less work, to train through."""

from typing import Any, NamedTuple

from train.adam import Adam
from train.backend import keras, tf


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


def equivalent(plain: Any, n_frames: int) -> Any:
    """Return a model that is the same function as `plain` on clips of at most `n_frames` frames, and trains faster.

    It reads and trains the variables of `plain`; nothing has to be copied. Two things are spared:

    The columns from `n_frames` on are 0, so from some column on all columns of every layer are alike, up to those that
    the zeros around a convolution reach from the right. One of the like columns is computed; what the first Dense has
    for each of them is added up and applied to that one.

    Bias and ReLU come after the pooling, on a quarter of the values. Both are monotone, so the maximum is the same.

    Parameters
    ----------
    plain
        A compiled keras.Sequential: pairs of Conv2D (stride 1, "same", relu) and MaxPooling2D, then Flatten, Dense,
        the rest.
    n_frames
        Frames of the longest clip, at least 1.

    Returns
    -------
    keras.Model
        Compiled as `plain` is; its `input_shape` says how many columns it takes.
    """
    width = narrowest(plain, n_frames)
    clip = keras.Input((plain.input_shape[1], width.n_columns, 1))
    model = keras.Model(clip, _Equivalent(plain, width)(clip), name=f"{plain.name}_in_training")
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


class _Equivalent(keras.layers.Layer):  # type: ignore[misc]
    def __init__(self, plain: Any, width: Width) -> None:
        super().__init__()
        # The layers, not the model: its own optimiser and metrics would count as a part of this.
        self.layers, self.n_blocks, self.width = list(plain.layers), len(_blocks(plain)), width
        self.n_classes = plain.output_shape[1]
        self.built = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], self.n_classes)

    def call(self, x: Any, training: bool | None = None) -> Any:
        blocks, (flatten, dense, *rest) = self.layers[: 2 * self.n_blocks], self.layers[2 * self.n_blocks :]
        for conv, pool in zip(blocks[::2], blocks[1::2], strict=True):
            x = tf.nn.conv2d(x, conv.kernel, 1, "SAME")
            x = tf.nn.max_pool2d(x, pool.pool_size, pool.strides, "VALID")
            x = tf.nn.relu(tf.nn.bias_add(x, conv.bias))
        kernel = self._summed(tf.convert_to_tensor(dense.kernel), x.shape)
        x = dense.activation(tf.nn.bias_add(tf.matmul(flatten(x), kernel), dense.bias))
        for layer in rest:
            x = layer(x, training=training) if isinstance(layer, keras.layers.Dropout) else layer(x)
        return x

    def _summed(self, kernel: Any, shape: Any) -> Any:
        """Return the kernel of the Dense on all columns, shape (n_mels * n_columns * n_filters, n_units), for x's."""
        _, n_edge, n_like = self.width
        if n_like == 1:
            return kernel
        _, n_mels, n_columns, n_filters = shape
        n_units = kernel.shape[1]
        n_clip = n_columns - 1 - n_edge
        columns = tf.reshape(kernel, (n_mels, -1, n_filters * n_units))
        clip, like, edge = tf.split(columns, (n_clip, n_like, n_edge), axis=1)
        columns = tf.concat([clip, tf.reduce_sum(like, axis=1, keepdims=True), edge], axis=1)
        return tf.reshape(columns, (-1, n_units))
