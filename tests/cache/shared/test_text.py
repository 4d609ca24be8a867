"""Text for people and for spreadsheets."""

from hypothesis import given
from hypothesis import strategies as st

from cache.shared.text import as_cell, from_cell


@given(st.text() | st.text("'=+-@a\t"))
def test_a_cell_never_begins_a_formula_and_comes_back(text: str) -> None:
    cell = as_cell(text)
    assert cell[:1] not in ("=", "+", "-", "@", "\t", "\r") or not cell
    assert from_cell(cell) == text


def test_ordinary_names_stay_as_they_are() -> None:
    for text in ("dog/rex.wav", "Käuzchen", "", "a=b", "it's", "0.5"):
        assert as_cell(text) == text
