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
        moments = self._momentums[index], self._velocities[index]
        adam_step(gradient, variable, moments, learning_rate, self.iterations, (self.beta_1, self.beta_2), self.epsilon)


def adam_step(
    gradient: Any,
    variable: Any,
    moments: tuple[Any, Any],
    learning_rate: Any,
    iterations: Any,
    betas: tuple[float, float],
    epsilon: float,
) -> None:
    """Update a variable and its moments as Keras's Adam does after so many iterations."""
    step = tf.cast(iterations + 1, tf.float32)
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
        epsilon=epsilon,
        grad=gradient,
    )


def _handle(variable: Any) -> Any:
    return (variable if isinstance(variable, tf.Variable) else variable.value).handle
