"""The BatchNormalization that is trained through is Keras's."""

import numpy as np
import pytest

from train.backend.batchnorm import BatchNormalization
from train.backend.keras import keras, tf


@pytest.mark.parametrize("training", [True, False])
def test_it_is_keras_own_in_values_gradients_and_moving_statistics(training: bool) -> None:
    rng = np.random.default_rng(0)
    x, wanted = (tf.constant(rng.normal(3, 2, (4, 6, 5, 8)).astype(np.float32)) for _ in range(2))
    weights = [rng.uniform(0.5, 2, 8) for _ in range(4)]
    results = []
    for kind in (BatchNormalization, keras.layers.BatchNormalization):
        layer = kind(momentum=0.9)
        layer.build(x.shape)
        layer.set_weights(weights)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=training)
            loss = tf.reduce_sum(y * wanted)
        gradients = tape.gradient(loss, [x, *(v.value for v in layer.trainable_variables)])
        results.append([np.asarray(value) for value in (y, *gradients, *layer.get_weights())])
    for ours, keras_own in zip(*results, strict=True):
        np.testing.assert_allclose(ours, keras_own, rtol=1e-4, atol=1e-4)
