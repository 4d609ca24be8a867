"""Compiled: a model with its steps of training and scoring, built and traced once for all fits that can share it."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from cache.shared.types import Float32
from train.backend.keras import tf
from train.backend.types import Model, Tensor, Weights
from train.fitting.options import Options
from train.models.recipes import N_COLUMNS, Recipe, build_to_train, recipe

# Takes a batch: X, shape (n, 128, n_columns, 1), one-hot y, and the weight of every row in the loss, shape (n,).
# Returns the mean loss; and in training how many of the rows are classified correctly, else their probabilities.
Step: TypeAlias = Callable[[Float32, Float32, Float32], tuple[Tensor, Tensor]]


class Compiled(NamedTuple):
    """A compiled Keras model, and its steps on a batch."""

    model: Model
    train: Step  # a step that changes the weights
    score: Step  # a step that does not
    optimizer_state: Weights  # the values of the optimiser's variables before the first step
    is_new: bool = True  # whether the weights are those that the model was built with, and not those of an earlier fit


def compiled_for(options: Options, n_classes: int, n_steps: int, n_frames: int) -> Compiled:
    """Return the model of build_to_train(), with its optimiser as before the first step.

    The folds of a cross-validation and the seeds of a sweep differ in nothing but their rows and weights. It takes
    seconds to build a model and to trace its steps, a sixth of a fold of a few hundred clips. So a process does that
    once, and every fit gets the same model; if it is not new, set_weights() comes first.
    """
    n_built = _shared.cache_info().misses
    shared = _shared(
        recipe(options.model),
        options.deterministic,
        options.model,
        n_classes,
        options.learning_rate,
        n_steps,
        min(n_frames, N_COLUMNS),
    )
    for variable, value in zip(shared.model.optimizer.variables, shared.optimizer_state, strict=True):
        variable.assign(value)
    return shared._replace(is_new=_shared.cache_info().misses > n_built)


# Two, for folds that differ by one optimiser step. `_recipe` and `_deterministic` are there to be compared: a name may
# come to stand for another recipe, and a step that was traced for other kernels is another step.
@lru_cache(2)
def _shared(
    _recipe: Recipe,
    _deterministic: bool,
    name: str,
    n_classes: int,
    learning_rate: float | None,
    n_steps: int,
    n_frames: int,
) -> Compiled:
    return compile_steps(build_to_train(name, n_classes, learning_rate, n_steps, n_frames))


def compile_steps(model: Model) -> Compiled:
    """Return a compiled model with its steps, each traced once for batches of any size.

    Keras's own fit() does the same, but gets its batches from a generator behind a tf.data iterator, which costs a
    quarter of a step of a small network; and its train_on_batch() is traced a second time for an epoch's last batch.
    """
    model.optimizer.build(model.trainable_variables)

    def train(X: Tensor, y: Tensor, clip_weights: Tensor) -> tuple[Tensor, Tensor]:
        with tf.GradientTape() as tape:
            probabilities = model(X, training=True)
            loss = model.compute_loss(X, y, probabilities, clip_weights)
        model.optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss, _n_correct(y, probabilities)

    def score(X: Tensor, y: Tensor, clip_weights: Tensor) -> tuple[Tensor, Tensor]:
        probabilities = model(X, training=False)
        return model.compute_loss(X, y, probabilities, clip_weights, training=False), probabilities

    shapes = ((None, *model.input_shape[1:]), (None, model.output_shape[1]), (None,))
    signature = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
    return Compiled(
        model,
        tf.function(train, signature, autograph=False),
        tf.function(score, signature, autograph=False),
        [variable.numpy() for variable in model.optimizer.variables],
    )


def _n_correct(y: Tensor, probabilities: Tensor) -> Tensor:
    return tf.math.count_nonzero(tf.argmax(y, axis=1) == tf.argmax(probabilities, axis=1))
