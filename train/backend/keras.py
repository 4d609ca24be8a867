"""Keras on TensorFlow, started as it runs best: every other module takes `keras` and `tf` from here, and only here."""

import logging
import os
import sys
from typing import Any

import numpy as np

from cache.shared.process import keep_freed_memory

# Both are read while TensorFlow and Keras load. Level 3 silences the C++ side (missing CUDA, CPU features); what goes
# wrong still comes as an exception.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

# Keras looks for these for parts of it that nothing here uses; to load them takes a second and 80 MB.
_unused = {"matplotlib", "sklearn"} - set(sys.modules)
sys.modules.update(dict.fromkeys(_unused))  # type: ignore[arg-type]  # None stops an import
try:
    import keras
    import tensorflow as tf
finally:
    for _name in _unused:
        del sys.modules[_name]

# TensorFlow's Python side: advice on retracing and the like.
logging.getLogger("tensorflow").setLevel(logging.ERROR)

# A user's ~/.keras/keras.json may say otherwise, and the rows of the cache are what they are.
keras.config.set_image_data_format("channels_last")
keras.config.set_floatx("float32")

keep_freed_memory()

__all__ = ["keras", "reseed", "seed_everything", "tf"]


def seed_everything(seed: int, deterministic: bool) -> None:
    """Seed every generator a fit draws from; `deterministic` also fixes the order of parallel sums."""
    keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()


def reseed(model: Any, seed: int, epoch: int) -> None:
    """Set the random state of a model's layers, such as Dropout, to what it is at the start of an epoch of a fit.

    Keras saves it with neither weights nor optimiser: only so does a resumed fit draw what an uninterrupted one draws.
    """
    states = [v for v in model.variables if v.name == "seed_generator_state"]
    rng = np.random.default_rng([seed, epoch])
    for state in states:
        state.assign(rng.integers(2**32, size=state.shape, dtype=np.uint32))
