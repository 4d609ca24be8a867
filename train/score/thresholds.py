"""best_thresholds(): for each class, the probability from which on to believe in it."""

import numpy as np
import numpy.typing as npt


def best_thresholds(
    is_class: npt.NDArray[np.bool_], probabilities: npt.NDArray[np.floating], class_names: tuple[str, ...]
) -> dict[str, float]:
    """Return the threshold of best F1 of each class, by its name; a class of which there is nothing has none.

    Of equally good ones it is the highest, half way down to the next lower probability.

    Parameters
    ----------
    is_class
        What each clip or window truly is, shape (n, n_classes).
    probabilities
        Of it, shape (n, n_classes).
    class_names
        The position is the column.
    """
    from sklearn.metrics import precision_recall_curve

    found = {}
    for name, truth, p in zip(class_names, is_class.T, probabilities.T, strict=True):
        if not truth.any():
            continue
        precision, recall, thresholds = precision_recall_curve(truth, p)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        best = int(np.flatnonzero(f1[:-1] >= f1[:-1].max() - 1e-12)[-1])
        lower = thresholds[best - 1] if best else 0.0
        found[name] = round(float(thresholds[best] + lower) / 2, 6)
    return found
