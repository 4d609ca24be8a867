"""corrections.csv: what is appended is read back, the last word counts, and a bad line costs itself alone."""

import csv
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.labels.corrections import Correction, Decision, append_correction, read_corrections
from cache.shared.errors import UserError

ONE = Correction("a" * 64, "dog/x.wav", "dog", Decision.CHANGE, "cat", "kim", "2026-01-01T10:00:00+00:00", "runs/x")


def read(file: Path) -> tuple[dict[str, Correction], list[str]]:
    said: list[str] = []
    return read_corrections(file, said.append), said


def test_no_file_is_no_corrections(tmp_path: Path) -> None:
    assert read(tmp_path / "corrections.csv") == ({}, [])


def test_what_is_appended_is_read_back_and_a_spreadsheet_reads_it_too(tmp_path: Path) -> None:
    file = tmp_path / "corrections.csv"
    odd = ONE._replace(sha256="b" * 64, path='dog/=1+"2", x.wav', new="=owl, great", who="Ümit")
    for correction in (ONE, odd):
        append_correction(file, correction)
    assert read(file) == ({"a" * 64: ONE, "b" * 64: odd}, [])
    with file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["old"] for row in rows] == ["dog", "dog"]
    assert rows[1]["new"] == "'=owl, great"


names = st.text(st.characters(codec="utf-8"), min_size=1).filter(str.isprintable)


@settings(deadline=None)
@given(path=st.text(st.characters(codec="utf-8")), new=names, who=names)
def test_whatever_names_there_are_the_decision_comes_back(
    path: str, new: str, who: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("odd") / "corrections.csv"
    one = ONE._replace(path=path, new=new, who=who)
    append_correction(file, one)
    (found,) = read(file)[0].values()
    assert found._replace(path="") == one._replace(path="")


def test_the_latest_decision_counts_whichever_file_it_came_from_and_undo_takes_all_back(tmp_path: Path) -> None:
    mine, yours = tmp_path / "mine.csv", tmp_path / "yours.csv"
    later = ONE._replace(new="bird", when="2026-01-02T10:00:00+00:00")
    append_correction(mine, later)
    append_correction(yours, ONE)
    for first, second in ((mine, yours), (yours, mine)):
        merged = tmp_path / "merged.csv"
        merged.write_text(first.read_text() + second.read_text())
        assert read(merged) == ({"a" * 64: later}, [])
    append_correction(mine, ONE._replace(decision=Decision.UNDO, new="", when="2026-01-03T10:00:00+00:00"))
    assert read(mine) == ({}, [])


def test_a_line_that_is_no_correction_costs_itself_alone_and_is_named(tmp_path: Path) -> None:
    file = tmp_path / "corrections.csv"
    append_correction(file, ONE)
    header, good = file.read_text().splitlines()
    bad = [
        "half a li",
        good.replace("change", "guess"),
        good + ",more",
        good.replace("cat", ""),
        '"' + good,
        good.replace("change", "right"),
    ]
    file.write_text("\n".join([header, *bad, "", good.replace("a" * 64, "b" * 64)]) + "\n")
    found, said = read(file)
    assert set(found) == {"b" * 64}
    assert said == [f"{file}: line 2 and 5 more skipped, because it is not a correction"]


def test_a_table_that_a_spreadsheet_saved_again_is_still_read(tmp_path: Path) -> None:
    file = tmp_path / "corrections.csv"
    append_correction(file, ONE._replace(path="dog/a, b.wav"))
    with file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.reader(lines))
    with file.open("w", newline="", encoding="utf-8-sig") as out:
        csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerows(rows)
    assert read(file) == ({"a" * 64: ONE._replace(path="dog/a, b.wav")}, [])
    append_correction(file, ONE._replace(sha256="b" * 64))
    assert [*read(file)[0]] == ["a" * 64, "b" * 64]


def test_after_half_a_line_the_next_one_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "corrections.csv"
    append_correction(file, ONE)
    for cut in (1, 20, len(file.read_bytes()) // 2):
        file.write_bytes(file.read_bytes()[:-cut])
        last = ONE._replace(sha256=f"{cut:064d}")
        append_correction(file, last)
        assert read(file)[0][last.sha256] == last


def test_another_table_is_refused_and_a_link_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("file,label\nx.wav,dog\n")
    with pytest.raises(UserError, match="not a table of corrections"):
        read(other)
    before = other.read_bytes()
    (tmp_path / "corrections.csv").symlink_to(other)
    with pytest.raises(UserError, match="is a link"):
        append_correction(tmp_path / "corrections.csv", ONE)
    assert other.read_bytes() == before
    os.mkfifo(tmp_path / "pipe.csv")
    for call in (lambda: append_correction(tmp_path / "pipe.csv", ONE), lambda: read(tmp_path / "pipe.csv")):
        with pytest.raises(UserError):
            call()


def test_a_class_that_would_take_two_lines_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be a class"):
        append_correction(tmp_path / "corrections.csv", ONE._replace(new="two\nlines"))
    assert list(tmp_path.iterdir()) == []
