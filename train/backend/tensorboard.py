"""EpochLog: what a fit logs for TensorBoard."""

from pathlib import Path
from typing import Any

from train.backend.keras import keras


class EpochLog(keras.callbacks.TensorBoard):  # type: ignore[misc]
    """Keras's own callback, with every epoch on disk when it is over: a signal or a kill loses none."""

    def __init__(self, folder: Path) -> None:
        # The graph would be that of the model that is trained through, which nobody wrote.
        super().__init__(folder, write_graph=False)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Log an epoch."""
        super().on_epoch_end(epoch, logs)
        for writer in self._writers.values():
            writer.flush()
