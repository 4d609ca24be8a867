"""The tests, in the same tree as the code; what several of them need is in `tests.helpers` and in `conftest`."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
