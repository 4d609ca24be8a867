"""Muon for convolutions: steps whose parts all count alike, so that fewer of them are needed."""

from typing import Any

from train.backend.adam import adam_step
from train.backend.keras import keras


class Muon(keras.optimizers.Muon):  # type: ignore[misc]
    """Keras's Muon (K. Jordan et al. 2024, scaled as by J. Liu et al., arXiv 2502.16982), of kernels of convolutions.

    Keras takes matrices alone for it. A kernel of shape (height, width, n_in, n_filters) is one, of shape (height x
    width x n_in, n_filters); all else, the last Dense layer too, is trained by AdamW, as Muon's authors have it.

    It is done in few operations: of the 2,000 that Keras makes of a step of a small network, two thirds are the
    optimiser's, and each has to be traced and, in every step, to be begun.
    """

    def zeropower_via_newtonschulz5(self, x: Any, steps: int) -> Any:
        """Return x, shape (n, m), with all its singular values near 1, by as many Newton-Schulz iterations.

        Each multiplies x by a polynomial of its Gram matrix, which is all that the next one needs: so they are done on
        (m, m) alone, in half the time of multiplying x itself.
        """
        ops = keras.ops
        gram = ops.matmul(ops.transpose(x), x)
        square = ops.trace(gram) + 1e-14
        unit = ops.eye(x.shape[1])
        gram, product = gram / square, unit / ops.sqrt(square)
        for _ in range(steps):
            factor = self.muon_a * unit + ops.matmul(gram, self.muon_b * unit + self.muon_c * gram)
            product = ops.matmul(product, factor)
            gram = ops.matmul(ops.matmul(factor, gram), factor)
        return ops.matmul(x, product)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
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
        betas = self.adam_beta_1, self.adam_beta_2
        adam_step(gradient, variable, (m, v), learning_rate, self.iterations, betas, self.epsilon)

    def _muon_step(self, gradient: Any, m: Any, learning_rate: Any) -> Any:
        ops = keras.ops
        momentum = gradient + self.momentum * m
        self.assign(m, momentum)
        ahead = ops.reshape(gradient + self.momentum * momentum, (-1, gradient.shape[-1]))
        scale = learning_rate * self.rms_rate * max(ahead.shape) ** 0.5
        return ops.reshape(scale * self.zeropower_via_newtonschulz5(ahead, self.ns_steps), gradient.shape)

    def _should_use_adamw(self, variable: Any) -> bool:
        return len(variable.shape) != 4

    def _apply_weight_decay(self, variables: Any) -> None:
        """Do nothing: update_step() does it, and asks for the learning rate once."""
