"""Keras on TensorFlow, started as it runs best: every other module takes `keras` and `tf` from here, and only here.

Adam, Muon and BatchNormalization are Keras's own in fewer operations, to train small networks in less time. Keras
spells each of them out in many operations. Every operation passes over memory, has to be traced, and costs time to
begin: two thirds of the 2,000 operations of a step of `compact` are the optimiser's.
"""

import logging
import os
import sys

import numpy as np

from cache.shared.cli import keep_freed_memory
from train.backend.types import Model, Optimizer, Tensor

# TensorFlow and Keras read both while they load. Level 3 silences the C++ side (missing CUDA, CPU features); errors
# still come as exceptions.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

# Keras and TensorFlow import these, if they are installed, for parts that nothing here uses: two seconds and 120 MB.
# None in sys.modules makes their import fail, as if they were not installed.
_unused = {"PIL", "matplotlib", "pandas", "psutil", "scipy", "sklearn"} - set(sys.modules)
sys.modules.update(dict.fromkeys(_unused))  # type: ignore[arg-type]  # None is not a module
try:
    import keras
    import tensorflow as tf
finally:
    for _name in _unused:
        del sys.modules[_name]

# TensorFlow's Python side: advice on retracing and the like.
logging.getLogger("tensorflow").setLevel(logging.ERROR)

# A user's ~/.keras/keras.json may say otherwise, and the rows of a cache are channels-last and float32 or float16.
keras.config.set_image_data_format("channels_last")
keras.config.set_floatx("float32")

keep_freed_memory()

__all__ = ["Adam", "BatchNormalization", "Muon", "keras", "reseed", "seed_everything", "tf"]


def seed_everything(seed: int, deterministic: bool) -> None:
    """Seed every generator a fit draws from; `deterministic` also fixes the order of parallel sums."""
    keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()


def reseed(model: Model, seed: int, epoch: int) -> None:
    """Set the random state of a model's layers, such as Dropout, to that of the start of an epoch of a fit.

    Keras saves this state with neither weights nor optimiser. Set in every epoch, it makes a resumed fit draw what an
    uninterrupted one draws.
    """
    states = [v for v in model.variables if v.name == "seed_generator_state"]
    rng = np.random.default_rng([seed, epoch])
    for state in states:
        state.assign(rng.integers(2**32, size=state.shape, dtype=np.uint32))


class Adam(keras.optimizers.Adam):  # type: ignore[misc]
    """Keras's Adam by TensorFlow's own kernel: the same formula, each variable read and written once.

    Most of the baseline's four million parameters are in one matrix, so a dozen passes over it take a noticeable part
    of a step.
    """

    def update_step(self, gradient: Tensor, variable: Tensor, learning_rate: Tensor) -> None:
        """Update a variable and its two moments."""
        index = self._get_variable_index(variable)
        moments = self._momentums[index], self._velocities[index]
        _adam_step(self, gradient, variable, moments, learning_rate, (self.beta_1, self.beta_2))


class Muon(keras.optimizers.Muon):  # type: ignore[misc]
    """Keras's Muon (K. Jordan et al. 2024, scaled as by J. Liu et al., arXiv 2502.16982) for kernels of convolutions.

    Muon makes all directions of a step count alike, so that fewer steps are needed. Keras applies it to matrices alone.
    Here a kernel of shape (height, width, n_in, n_filters) is a matrix of shape (height x width x n_in, n_filters);
    AdamW trains everything else, the last Dense layer too, as Muon's authors recommend.
    """

    def zeropower_via_newtonschulz5(self, x: Tensor, steps: int) -> Tensor:
        """Return x, shape (n, m), with all its singular values near 1, by as many Newton-Schulz iterations.

        Each iteration multiplies x by a polynomial of its Gram matrix, and the next iteration needs nothing but that
        product. So all of them are done on (m, m) alone, in half the time of multiplying x itself.
        """
        unit = np.eye(x.shape[1], dtype=np.float32)
        gram = tf.matmul(x, x, transpose_a=True)
        square = tf.reduce_sum(gram * unit) + 1e-14
        gram, product = gram / square, unit / tf.sqrt(square)
        for step in range(steps):
            factor = self.muon_a * unit + tf.matmul(gram, self.muon_b * unit + self.muon_c * gram)
            product = tf.matmul(product, factor)
            if step + 1 < steps:
                gram = tf.matmul(tf.matmul(factor, gram), factor)
        return tf.matmul(x, product)

    def update_step(self, gradient: Tensor, variable: Tensor, learning_rate: Tensor) -> None:
        """Update a variable and its moments, and let its weights decay."""
        index = self._get_variable_index(variable)
        m, v = self.momentums[index], self.adam_velocities[index]
        decay = learning_rate * (self.weight_decay if v is None else self.adam_weight_decay)
        is_decaying = self._use_weight_decay(variable)
        if v is None:
            step = self._muon_step(gradient, m, learning_rate)
            self.assign_sub(variable, step + decay * variable if is_decaying else step)
            return
        if is_decaying:
            self.assign_sub(variable, decay * variable)
        _adam_step(self, gradient, variable, (m, v), learning_rate, (self.adam_beta_1, self.adam_beta_2))

    def _muon_step(self, gradient: Tensor, m: Tensor, learning_rate: Tensor) -> Tensor:
        momentum = gradient + self.momentum * m
        self.assign(m, momentum)
        ahead = tf.reshape(gradient + self.momentum * momentum, (-1, gradient.shape[-1]))
        scale = learning_rate * self.rms_rate * max(ahead.shape) ** 0.5
        return tf.reshape(scale * self.zeropower_via_newtonschulz5(ahead, self.ns_steps), gradient.shape)

    def _should_use_adamw(self, variable: Tensor) -> bool:
        return len(variable.shape) != 4

    def _apply_weight_decay(self, variables: Tensor) -> None:
        """Do nothing: update_step() applies it, so that the learning rate is computed once."""


class BatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]
    """Keras's layer for the last axis of images, with the same weights, by TensorFlow's fused kernel and its gradient.

    Keras's own passes over the activations some twenty times a step, which is most of the time that a network of few
    filters spends outside its convolutions.
    """

    def call(self, inputs: Tensor, training: bool | None = None, mask: Tensor = None) -> Tensor:
        """Return inputs, shape (batch, height, width, n_filters), normalised."""
        if not training:
            return super().call(inputs, training=training, mask=mask)
        y, mean, variance, *_ = tf.compat.v1.nn.fused_batch_norm(
            inputs, self.gamma, self.beta, epsilon=self.epsilon, is_training=True
        )
        # The kernel returns the variance divided by n - 1; Keras keeps the variance divided by n.
        n = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
        for moving, new in ((self.moving_mean, mean), (self.moving_variance, variance * (n - 1) / n)):
            moving.assign(moving * self.momentum + new * (1 - self.momentum))
        return y


def _adam_step(
    optimizer: Optimizer,
    gradient: Tensor,
    variable: Tensor,
    moments: tuple[Tensor, Tensor],
    learning_rate: Tensor,
    betas: tuple[float, float],
) -> None:
    """Update a variable and its moments as Keras's Adam does."""
    step = tf.cast(optimizer.iterations + 1, tf.float32)
    m, v = moments
    tf.raw_ops.ResourceApplyAdam(
        var=_handle(variable),
        m=_handle(m),
        v=_handle(v),
        beta1_power=tf.pow(betas[0], step),
        beta2_power=tf.pow(betas[1], step),
        lr=learning_rate,
        beta1=betas[0],
        beta2=betas[1],
        epsilon=optimizer.epsilon,
        grad=gradient,
    )


def _handle(variable: Tensor) -> Tensor:
    return (variable if isinstance(variable, tf.Variable) else variable.value).handle
