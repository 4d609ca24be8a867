"""Options of a fit: what decides it beside the cache."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """What decides a fit, beside the cache; the names and meanings are those of `python -m train fit --help`."""

    model: str = "baseline"
    epochs: int = 15
    batch_size: int = 32
    learning_rate: float | None = None
    seed: int = 0
    val: float = 0.15
    test: float = 0.15
    group_by: str | None = None
    class_weight: str | None = None
    patience: int | None = None
    deterministic: bool = False
