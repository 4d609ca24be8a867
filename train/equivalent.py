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
    n_repeats
        How often the column before those is repeated there.
    """

    n_columns: int
    n_edge: int
    n_repeats: int


def equivalent(plain: Any, n_frames: int) -> Any:
    """Return a model that is the same function as `plain` on clips of at most `n_frames` frames, and trains faster.

    It reads and trains the variables of `plain`; nothing has to be copied. Two things are spared:

    The columns from `n_frames` on are 0, so from some column on all columns of every layer are alike, up to those that
    the zeros around a convolution reach from the right. One of the like columns is computed and, before Flatten,
    repeated.

    Bias and ReLU come after the pooling, on a quarter of the values. Both are monotone, so the maximum is the same.

    Parameters
    ----------
    plain
        A compiled keras.Sequential: pairs of Conv2D (stride 1, "same", relu) and MaxPooling2D, Flatten, the rest.
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
    n_repeats = n_columns // stride - n_needed
    if n_columns % stride or n_repeats <= 0:
        return Width(n_columns, n_edge, 0)
    return Width(n_needed * stride, n_edge, n_repeats)


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
        head, tail = self.layers[: 2 * self.n_blocks], self.layers[2 * self.n_blocks :]
        for conv, pool in zip(head[::2], head[1::2], strict=True):
            x = tf.nn.conv2d(x, conv.kernel, 1, "SAME")
            x = tf.nn.max_pool2d(x, pool.pool_size, pool.strides, "VALID")
            x = tf.nn.relu(tf.nn.bias_add(x, conv.bias))
        x = self._widened(x)
        for layer in tail:
            x = layer(x, training=training) if isinstance(layer, keras.layers.Dropout) else layer(x)
        return x

    def _widened(self, x: Any) -> Any:
        _, n_edge, n_repeats = self.width
        if not n_repeats:
            return x
        clip, edge = x[:, :, :-n_edge], x[:, :, -n_edge:]
        return tf.concat([clip, tf.tile(clip[:, :, -1:], (1, 1, n_repeats, 1)), edge], axis=2)
