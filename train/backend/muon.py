"""Muon for convolutions: steps whose parts all count alike, so that fewer of them are needed."""

from typing import Any

from train.backend.keras import keras


class Muon(keras.optimizers.Muon):  # type: ignore[misc]
    """Keras's Muon (K. Jordan et al. 2024, scaled as by J. Liu et al., arXiv 2502.16982), of kernels of convolutions.

    Keras takes matrices alone for it. A kernel of shape (height, width, n_in, n_filters) is one, of shape (height x
    width x n_in, n_filters); all else, the last Dense layer too, is trained by AdamW, as Muon's authors have it.
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
            factor = self.muon_a * unit + self.muon_b * gram + self.muon_c * ops.matmul(gram, gram)
            product = ops.matmul(product, factor)
            gram = ops.matmul(ops.matmul(factor, gram), factor)
        return ops.matmul(x, product)

    def _should_use_adamw(self, variable: Any) -> bool:
        return len(variable.shape) != 4

    def _muon_update_step(self, gradient: Any, variable: Any, lr: Any, m: Any) -> None:
        ops = keras.ops
        self.assign(m, gradient + self.momentum * m)
        ahead = ops.reshape(gradient + self.momentum * m, (-1, variable.shape[-1]))
        step = self.lr_adjust(lr * self.zeropower_via_newtonschulz5(ahead, self.ns_steps))
        self.assign_sub(variable, ops.reshape(step, variable.shape))
