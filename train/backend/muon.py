"""Muon for convolutions: steps whose parts all count alike, so that fewer of them are needed."""

from typing import Any

from train.backend.keras import keras


class Muon(keras.optimizers.Muon):  # type: ignore[misc]
    """Keras's Muon (K. Jordan et al. 2024, scaled as by J. Liu et al., arXiv 2502.16982), of kernels of convolutions.

    Keras takes matrices alone for it. A kernel of shape (height, width, n_in, n_filters) is one, of shape (height x
    width x n_in, n_filters); all else, the last Dense layer too, is trained by AdamW, as Muon's authors have it.
    """

    def _should_use_adamw(self, variable: Any) -> bool:
        return len(variable.shape) != 4

    def _muon_update_step(self, gradient: Any, variable: Any, lr: Any, m: Any) -> None:
        ops = keras.ops
        self.assign(m, gradient + self.momentum * m)
        ahead = ops.reshape(gradient + self.momentum * m, (-1, variable.shape[-1]))
        step = self.lr_adjust(lr * self.zeropower_via_newtonschulz5(ahead, self.ns_steps))
        self.assign_sub(variable, ops.reshape(step, variable.shape))
