"""Tables with a header are read in the dialects that programs write, and each bad line by itself."""

import csv
import io
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.labels.annotation import told
from cache.labels.read import read_labels
from cache.labels.table import ColumnNames, column_name, header_of, rows_of
from cache.shared.errors import UserError


@pytest.fixture
def rec(tmp_path: Path) -> Path:
    """A folder with two recordings; nobody opens them to read labels."""
    (tmp_path / "rec").mkdir()
    for name in ("n0.wav", "n1.wav"):
        (tmp_path / "rec" / name).touch()
    return tmp_path / "rec"


def table(rec: Path, *lines: str, name: str = "table.csv", encoding: str = "utf-8") -> Path:
    file = rec.parent / name
    file.write_bytes("\n".join((*lines, "")).encode(encoding))
    return file


def read(rec: Path, *lines: str, name: str = "table.csv", **columns: str) -> tuple[list[object], list[str]]:
    labels = read_labels([table(rec, *lines, name=name)], rec, ColumnNames(**columns))
    return [(Path(one.file).name, one.start, one.end, one.label) for one in labels.annotations], told(labels.problems)


DOG = ("n0.wav", 1.0, 1.8, "dog")


@pytest.mark.parametrize(
    "lines",
    [
        ("file,start,end,label", "n0.wav,1.0,1.8,dog"),
        ("file;start;end;label", "n0.wav;1,0;1,8;dog"),
        ("file\tstart\tend\tlabel", "n0.wav\t1.0\t1.8\tdog"),
        ("sep=;", "file;start;end;label", "n0.wav;1,0;1,8;dog"),
        ('"sep=;"', "file;start;end;label", "n0.wav;1,0;1,8;dog"),
        ("", "  ", "file,start,end,label", "n0.wav,1.0,1.8,dog"),
        ('"file","start","end","label"', '"n0.wav","1,0","1,8","dog"'),
        ('file, "start" ,end,label', ' n0.wav , "1.0" , 1.8,  dog  '),
        ("file,start,end,label,,", "n0.wav,1.0,1.8,dog,,", ",,,,,"),
        ("filename,onset,offset,event_label", "n0.wav,1.0,1.8,dog"),
        ("file_path,start_time,end_time,annotation", "rec/n0.wav,1.0,1.8,dog"),
        ("Start (s),End (s),Scientific name,Common name,Confidence,File", "1.0,1.8,Canis lupus,dog,0.83,rec/n0.wav"),
        ("Selection,View,Channel,Begin Time (s),End Time (s),Begin File,Species", "1,Spectrogram 1,1,1,1.8,n0.wav,dog"),
        ('"","Selection","Begin.Time..s.","End.Time..s.","Begin.File","Species"', '"1",1,1,1.8,"n0.wav","dog"'),
    ],
)
def test_the_usual_dialects_and_names_of_columns_are_read(lines: tuple[str, ...], rec: Path) -> None:
    assert read(rec, *lines) == ([DOG], [])


def test_a_cell_in_quotation_marks_may_hold_what_separates_cells(rec: Path) -> None:
    header = "Selection\tBegin Time (s)\tEnd Time (s)\tBegin File\tSpecies"
    lines = (header, '1\t1.0\t1.8\tn0.wav\t"Tit, great"', '2\t1.0\t1.8\tn0.wav\t"6"" tit"')
    assert [label for *_, label in read(rec, *lines, name="t.txt")[0]] == ["Tit, great", '6" tit']  # type: ignore[misc]


@settings(deadline=None)
@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])), min_size=3, max_size=3)))
def test_rows_that_the_csv_module_writes_are_read_as_they_were(rows: list[list[str]]) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([["a", "b", "c"], *rows])
    lines = out.getvalue().split("\n")
    found = [row.cells for row in rows_of(lines, header_of(lines))]
    assert found == [cells for row in rows if any(cells := [cell.strip() for cell in row])]


def test_a_name_of_a_column_is_the_same_as_raven_r_and_people_write_it() -> None:
    names = ("Begin Time (s)", "Begin.Time..s.", "begin_time_s", " BEGIN TIME (S) ")
    assert {column_name(name) for name in names} == {"begin time s"}


def test_a_line_that_is_broken_is_named_and_costs_itself_alone(rec: Path) -> None:
    lines = (
        "file,start,end,label",
        "n0.wav,1,5,2,5,dog",
        'n0.wav,3,4,"dog',
        "n0.wav,1.0,1.8,dog",
        'n0.wav,5,6,"a',
        'b"',
    )
    labels, said = read(rec, *lines)
    assert labels == [DOG]
    assert [line.split(":")[1] for line in said if "is not closed" in line] == ["3", "5"]
    assert any(
        ":2: it has 6 cells, and the header has 4; numbers with a decimal comma need quotation" in s for s in said
    )
    assert any(line.startswith(f"{rec.parent}/table.csv:6: its start or end is not a number") for line in said)


def test_a_cell_that_is_too_long_for_a_csv_is_one_bad_line(rec: Path) -> None:
    for text in ("x" * 5000, '"' + "x" * 200_000 + '"'):
        labels, said = read(rec, "file,start,end,label", f"{text},1,2,dog", "n0.wav,1.0,1.8,dog", f"n0.wav,1,2,{text}")
        assert labels == [DOG]
        assert len(said) == 2
        assert all(len(line) < 500 for line in said)


def test_an_impossible_number_costs_its_own_line(rec: Path) -> None:
    times = ("1,1.7e308", "1,1e300", "-0,0.5", "0,1e-300", "nan,2", "1,inf", "10.5,10.50001", "0:01,0:02", "1,1.8")
    labels, said = read(rec, "file,start,end,label", *(f"n0.wav,{time},dog" for time in times))
    assert labels == [("n0.wav", 0.0, 0.5, "dog"), DOG]
    assert sorted(int(line.split(":")[1]) for line in said) == [2, 3, 5, 6, 7, 8, 9]


def test_na_and_nan_are_not_labels_where_a_program_wrote_them(rec: Path) -> None:
    lines = [f"n0.wav,{i},{i + 1},{label}" for i, label in enumerate(("NA", "NaN", "", "dog"))]
    labels, said = read(rec, "file,start,end,label", *lines)
    assert [label for *_, label in labels] == ["dog"]  # type: ignore[misc]
    assert said == [f"{rec.parent}/table.csv:2 and 2 more lines: it has no label; skipped"]


def test_a_point_has_no_length_unless_one_is_given(rec: Path) -> None:
    file = table(rec, "0.1\t0.1\tdog", "5\t5\tcat", "9\t9.8\tdog", name="n0.txt")
    assert told(read_labels([file], rec).problems) == [
        f"{file}:1: it is a point label at 0.1 s, and a clip needs a length; skipped",
        f"{file}:2: it is a point label at 5 s, and a clip needs a length; skipped",
    ]
    found = read_labels([file], rec, point=0.5).annotations
    assert [(one.start, one.end) for one in found] == [(0.0, 0.5), (4.75, 5.25), (9.0, 9.8)]


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("filename,fold,target,category,esc10,src_file,take", "n0.wav,1,0,dog,True,100032,A"),
        ("slice_file_name,fsID,start,end,salience,fold,classID,class", "n0.wav,100032,0.0,0.3,1,5,3,dog"),
        ("file;label", "rec/n0.wav;dog"),
    ],
)
def test_a_table_without_times_labels_whole_files(header: str, row: str, rec: Path) -> None:
    labels, said = read(rec, header, row)
    assert labels == [("n0.wav", 0.0, float("inf"), "dog")]
    assert said == [f"{rec.parent}/table.csv: its labels have no times, so each is that of a whole file"]


def test_a_number_that_is_a_score_is_never_the_label(rec: Path) -> None:
    for score in ("Probability", "Confidence", "Score"):
        header = f"Selection\tBegin Time (s)\tEnd Time (s)\tBegin File\tType\t{score}"
        assert read(rec, header, "1\t1.0\t1.8\tn0.wav\t7\t0.8052", name="t.txt")[0] == [("n0.wav", 1.0, 1.8, "7")]
        bare = header.replace("\tType", "")
        with pytest.raises(UserError, match="none of its columns holds a label"):
            read(rec, bare, "1\t1.0\t1.8\tn0.wav\t0.8052", name="t.txt")


def test_recordings_in_a_column_that_is_not_known_stop_the_table(rec: Path) -> None:
    for header, row in (
        ("wavname,start,end,label", "n1.wav,1,2,dog"),
        ("Selection\tBegin Time (s)\tEnd Time (s)\tSound\tSpecies", "1\t1\t2\tn1.WAV\tdog"),
    ):
        with pytest.raises(UserError, match=r"its column \w+ holds names of audio files \(n1"):
            read(rec, header, row, name="n0.csv")
    remarks = ("start,end,label,remark", "1,2,dog,as in n1.wav", "3,4,dog,loud", "5,6,dog,far away")
    assert len(read(rec, *remarks, name="n0.csv")[0]) == 3


def test_a_table_that_lacks_an_end_or_a_label_says_what_it_has(rec: Path) -> None:
    with pytest.raises(
        UserError, match="it has a column for the start and none for the end; it has file, start, label"
    ):
        read(rec, "file,start,label", "n0.wav,1,dog")
    with pytest.raises(UserError, match=r"no column for the label \(label, species, .*; it has site, start, end"):
        read(rec, "site,start,end", "pond,2026-05-01,2026-05-09")
    with pytest.raises(UserError, match=r"its first line is '1.0   1.8   dog'; expected is a label track"):
        read(rec, "1.0   1.8   dog", name="n0.txt")
    with pytest.raises(UserError, match="a table of predictions, not of labels"):
        read(rec, "run,kind,path,start,end,class,p_dog,note", "r,window,n0.wav,0,1,dog,0.9,")


def test_a_column_that_is_named_is_taken_where_it_is_and_must_be_in_one_table(rec: Path) -> None:
    table(rec, "file,start,end,call,label", "n0.wav,1,2,song,dog", name="a.csv")
    table(rec, "file,start,end,label", "n1.wav,1,2,dog", name="b.csv")
    labels = read_labels([rec.parent / "a.csv", rec.parent / "b.csv"], rec, ColumnNames(label="Call")).annotations
    assert [one.label for one in labels] == ["song", "dog"]
    with pytest.raises(UserError, match=r"no table has a column Call; .*b.csv has file, start, end, label"):
        read_labels([rec.parent / "b.csv"], rec, ColumnNames(label="Call"))


NAMED = {"file": "Rec", "start": "T0", "end": "T1", "label": "Call"}


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("a.csv", ("rec,t0,t1,call", "n0.wav,1,1.8,dog", "n1.wav,2,3,cat")),
        # The usual names are there as well, with something else in them.
        ("a.csv", ("file,rec,offset,t0,t1,label,call", "x.wav,n0.wav,9,1,1.8,a,dog", "x.wav,n1.wav,9,2,3,a,cat")),
        ("a.csv", ("slice_file_name;start;t0;t1;rec;call", "x.wav;7;1,0;1,8;n0.wav;dog", "x.wav;7;2;3;n1.wav;cat")),
        (
            "a.selections.txt",
            (
                "Selection\tView\tChannel\tT0\tT1\tRec\tCall\tNotes",
                "1\tWaveform 1\t1\t1\t1.8\tn0.wav\tdog\tloud",
                "1\tSpectrogram 1\t1\t1\t1.8\tn0.wav\tdog\tloud",
                "2\tSpectrogram 1\t1\t2\t3\tn1.wav\tcat\t",
            ),
        ),
        (
            "a.selections.txt",
            (
                "Selection\tBegin Time (s)\tEnd Time (s)\tFile Offset (s)\tBegin File\tSpecies\tT0\tT1\tRec\tCall",
                "1\t61\t61.8\t7\tx.wav\ta\t1\t1.8\tn0.wav\tdog",
                "2\t62\t63\t8\tx.wav\ta\t2\t3\tn1.wav\tcat",
            ),
        ),
    ],
)
def test_columns_of_any_name_are_read_where_they_are_named_and_win_over_the_usual_ones(
    rec: Path, name: str, lines: tuple[str, ...]
) -> None:
    assert read(rec, *lines, name=name, **NAMED)[0] == [DOG, ("n1.wav", 2.0, 3.0, "cat")]


def test_a_column_named_for_one_thing_is_not_taken_for_another(rec: Path) -> None:
    # "offset" is a usual name of the end, and a free column with words that of Raven's label.
    assert read(rec, "file,offset,stop,label", "n0.wav,1,1.8,dog", start="offset")[0] == [DOG]
    raven = "Selection\tBegin Time (s)\tEnd Time (s)\tKind\tRec"
    assert read(rec, raven, "1\t1\t1.8\tdog\tn0.wav", name="a.txt", file="rec")[0] == [DOG]


def test_a_start_that_is_named_as_raven_names_it_still_has_its_offset(rec: Path) -> None:
    header = "Selection\tBegin Time (s)\tEnd Time (s)\tFile Offset (s)\tBegin File\tSpecies"
    row = "1\t61\t61.8\t1\tn0.wav\tdog"
    assert read(rec, header, row, name="a.txt", start="Begin Time (s)")[0] == [DOG]


@pytest.mark.parametrize("role", NAMED)
def test_a_name_that_no_table_has_is_an_error_with_the_columns_there_are(rec: Path, role: str) -> None:
    for name, header, row in (
        ("a.csv", "file,start,end,label", "n0.wav,1,1.8,dog"),
        ("a.txt", "Selection\tBegin Time (s)\tEnd Time (s)\tSpecies", "1\t1\t1.8\tdog"),
    ):
        there = header.replace("\t", ",").replace(",", ", ")
        with pytest.raises(UserError) as error:
            read(rec, header, row, name=name, **{role: NAMED[role]})
        assert str(error.value) == f"no table has a column {NAMED[role]}; {rec.parent / name} has {there}"


def test_a_table_that_lacks_one_of_the_columns_says_which_option_names_it(rec: Path) -> None:
    with pytest.raises(UserError, match=r"none for the end; it has rec, t0, t1, call: .* with --end-column"):
        read(rec, "rec,t0,t1,call", "n0.wav,1,1.8,dog", file="rec", start="t0", label="call")
    with pytest.raises(UserError, match=r"its column rec holds names of audio files .* with --file-column"):
        read(rec, "rec,start,end,label", "n0.wav,1,1.8,dog")


def test_what_else_lies_in_a_folder_of_tables_is_a_line_each_and_skipped(rec: Path) -> None:
    tables = rec.parent / "tables"
    tables.mkdir()
    (tables / "n0.txt").write_text("1.0\t1.8\tdog\n")
    (tables / "deployments.csv").write_text("site,start,end\npond,2026-05-01,2026-05-09\n")
    (tables / "predictions.csv").write_text("run,kind,path,start,end,class,p_dog,note\nr,window,n0.wav,0,1,dog,0.9,\n")
    (tables / "note.txt").write_bytes("Käuzchen".encode("latin-1"))
    (tables / "bare.txt").write_text("Selection\tBegin Time (s)\tEnd Time (s)\n1\t1\t2\n")
    (tables / "gone.txt").symlink_to("nowhere.txt")
    os.mkfifo(tables / "pipe.txt")
    labels = read_labels([tables], rec)
    assert [one.label for one in labels.annotations] == ["dog"]
    assert {problem.table.name for problem in labels.problems} == {
        *("deployments.csv", "predictions.csv", "note.txt", "bare.txt", "gone.txt", "pipe.txt")
    }
    assert all(problem.skipped for problem in labels.problems)
    for name in ("deployments.csv", "note.txt", "pipe.txt"):
        with pytest.raises(UserError, match=name):
            read_labels([tables / name], rec)


def test_an_empty_table_says_that_nothing_calls_in_the_recording_of_its_name(rec: Path) -> None:
    header = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tSpecies"
    for lines, name in (((header,), "n1.selections.txt"), ((), "n1.txt"), (("start,end,label",), "n1.csv")):
        assert read_labels([table(rec, *lines, name=name)], rec) == ([], [str(rec / "n1.wav")], [])


def test_near_copies_of_a_label_count_once(rec: Path) -> None:
    rows = ("1.0,1.8,dog", "1.0004,1.8004,dog", "1.0,1.8,dog", "1.0004,1.8004,cat", "1.01,1.81,dog")
    labels, said = read(rec, "file,start,end,label", *(f"n0.wav,{row}" for row in rows))
    assert [(start, label) for _, start, _, label in labels] == [(1.0, "dog"), (1.0004, "cat"), (1.01, "dog")]  # type: ignore[misc]
    assert said == [f"{rec.parent}/table.csv:3: it repeats the label of table.csv:2 to a millisecond; skipped"]


def test_the_channel_of_a_selection_is_that_of_its_annotation(rec: Path) -> None:
    header = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tBegin File\tSpecies"
    rows = [f"{i}\tSpectrogram {i}\t{i}\t1\t2\tn0.wav\tdog" for i in (1, 3)]
    labels = read_labels([table(rec, header, *rows, name="t.txt")], rec).annotations
    assert [one.channel for one in labels] == [1, 3]


def test_frequency_bounds_are_said_once_to_be_ignored(rec: Path) -> None:
    header = "Selection\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tSpecies"
    raven = [table(rec, header, "1\t1\t2\t200\t5000\tdog", name=f"n{i}.txt") for i in range(2)]
    track = table(rec, "3\t4\tdog", "\\\t200\t5000", name="n1.labels.txt")
    problems = read_labels([*raven, track], rec).problems
    assert [(problem.table, problem.skipped) for problem in problems] == [(raven[0], False)]
