"""Keras on TensorFlow, started as it runs best: every other module takes `keras` and `tf` from here, and only here."""

import logging
import os
import sys

import numpy as np

from cache.shared.cli import keep_freed_memory
from train.backend.types import Model

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

__all__ = ["keras", "reseed", "seed_everything", "tf"]


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
