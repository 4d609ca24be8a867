"""Text for people: what a table of ours holds is read back as it was, and no spreadsheet runs any of it."""

import csv
import re

import pytest

from cache.shared.text import csv_line, plain_cell

# Beginnings of formulas for spreadsheets.
STARTS = ["=", "+", "-", "@", "\t", "\r", "\n", "\0", "\uff1d", "\uff0b", "\uff0d", "\uff20"]
FORMULAS = [f"{start}{rest}" for start in STARTS for rest in ("", "1+1", "cmd|' /C calc'!A0", 'HYPERLINK("x";"y")')]
TEXTS = ["dog/a.wav", "", "'", "'dog", "''", "a=b", " =1", "a,b", 'a"b', "a\nb", "a\rb", "a\r\nb", "Grünspecht", "1,5"]
NUMBERS = ["-1", "+1", "-0.5", "1e-05", "-1.5E+10", ".5", "5."]


def cells(line: str) -> list[str]:
    return next(csv.reader([line], strict=True))


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_written_as_text_that_a_spreadsheet_only_shows(text: str) -> None:
    assert re.match(r"[+-]?\d+\Z", text) or cells(csv_line(["a", text]))[1] == f"'{text}"


@pytest.mark.parametrize("text", [*FORMULAS, *TEXTS, *NUMBERS])
@pytest.mark.parametrize("before", ["", "'", "''"])
def test_every_text_is_read_back_as_it_was(text: str, before: str) -> None:
    line = csv_line(["path", before + text, "last"])
    assert [plain_cell(cell) for cell in cells(line)] == ["path", before + text, "last"]
    assert line.endswith("\n")
    assert not line.endswith("\r\n")


@pytest.mark.parametrize("text", [*TEXTS, *NUMBERS])
def test_what_is_not_a_formula_is_written_as_it_is(text: str) -> None:
    assert cells(csv_line([text, 1]))[0] == text


def test_numbers_stay_numbers() -> None:
    assert csv_line([-1, -0.5, 1e-07, None, True]) == "-1,-0.5,1e-07,,True\n"
