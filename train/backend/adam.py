"""Adam as one pass over each variable."""

from typing import Any

from train.backend.keras import keras, tf


class Adam(keras.optimizers.Adam):  # type: ignore[misc]
    """Keras's Adam computed by TensorFlow's own kernel for it: the same formula, read and written once.

    Keras spells it out in a dozen operations, each a pass over memory; most of the baseline's four million parameters
    lie in one matrix, so that takes a noticeable part of a step.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update a variable and its two moments."""
        index = self._get_variable_index(variable)
        step = tf.cast(self.iterations + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=_handle(variable),
            m=_handle(self._momentums[index]),
            v=_handle(self._velocities[index]),
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=learning_rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


def _handle(variable: Any) -> Any:
    return (variable if isinstance(variable, tf.Variable) else variable.value).handle
