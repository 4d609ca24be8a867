"""BatchNormalization for training, as one operation instead of the twenty that Keras makes of it."""

from typing import Any

from train.backend.keras import keras, tf


class BatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]
    """Keras's layer of the last axis of images, with the same weights, by TensorFlow's fused kernel and its gradient.

    What Keras spells out passes over the activations some twenty times a step, which is most of the time that a network
    of few filters spends outside its convolutions.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Return inputs, shape (batch, height, width, n_filters), normalised."""
        if not training:
            return super().call(inputs, training=training, mask=mask)
        y, mean, variance, *_ = tf.compat.v1.nn.fused_batch_norm(
            inputs, self.gamma, self.beta, epsilon=self.epsilon, is_training=True
        )
        # The kernel hands back the variance divided by n - 1; Keras keeps the one divided by n.
        n = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
        for moving, new in ((self.moving_mean, mean), (self.moving_variance, variance * (n - 1) / n)):
            moving.assign(moving * self.momentum + new * (1 - self.momentum))
        return y
