"""Keras on TensorFlow, started without its chatter: every other module takes `keras` from here, and only here."""

import os

# Both are read while TensorFlow and Keras load. Level 3 silences the C++ side (missing CUDA, CPU features); what goes
# wrong still comes as an exception.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras

# A user's ~/.keras/keras.json may say otherwise, and the rows of the cache are what they are.
keras.config.set_image_data_format("channels_last")
keras.config.set_floatx("float32")

__all__ = ["keras", "seed_everything"]


def seed_everything(seed: int, deterministic: bool) -> None:
    """Seed every generator a fit draws from; `deterministic` also fixes the order of parallel sums."""
    keras.utils.set_random_seed(seed)
    if deterministic:
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
