"""How much is tried where there is no end of what could be: a fixed part by `make test`, all of it by `make fuzz`."""

import os

# Set by `make fuzz`: how many damaged files of every format are tried.
FUZZ_EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))


def amount(by_default: int, by_fuzz: int) -> int:
    """Choose the number for this run; `make fuzz` must name every file that asks here."""
    return by_fuzz if FUZZ_EXAMPLES else by_default
