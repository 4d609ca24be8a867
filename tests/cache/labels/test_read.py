from pathlib import Path

import pytest

from cache.labels.annotation import FREQUENCIES, Annotation, told
from cache.labels.read import read_labels
from cache.labels.table import ColumnNames
from cache.shared.errors import UserError

RAVEN = ("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)")


@pytest.fixture
def field(tmp_path: Path) -> Path:
    """A folder with recordings; nobody opens them to read labels."""
    for name in ("night.wav", "day.flac", "far/river/dusk.wav", "far/pond/dusk.wav"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).touch()
    return tmp_path / "data"


def write(file: Path, *rows: tuple[object, ...], sep: str = "\t", encoding: str = "utf-8", end: str = "\n") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(end.join((*(sep.join(map(str, row)) for row in rows), "")).encode(encoding))
    return file


def read(
    *paths: Path, recordings: Path | None = None, column: str | None = None
) -> tuple[list[tuple[str, float, float, str]], list[str]]:
    labels = read_labels(paths, recordings, ColumnNames(label=column))
    found = [(Path(label.file).name, label.start, label.end, label.label) for label in labels.annotations]
    return found, told(labels.problems)


def test_a_label_track_of_audacity_belongs_to_the_recording_of_its_name(field: Path) -> None:
    file = write(
        field / "night.txt", ("1.5", "2.25", "frog"), ("\\", "100", "4000"), ("3.000000", "4.000000", "an owl")
    )
    labels = read_labels([file], None).annotations
    assert labels == [
        Annotation(str(field / "night.wav"), 1.5, 2.25, "frog", file, 1),
        Annotation(str(field / "night.wav"), 3.0, 4.0, "an owl", file, 3),
    ]
    assert labels[1].where == "night.txt:3"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_line_ends_byte_order_marks_and_decimal_commas_change_nothing(field: Path, end: str, encoding: str) -> None:
    file = write(field / "night.txt", ("1,5", "2,25", "Käuzchen"), encoding=encoding, end=end)
    assert read(file) == ([("night.wav", 1.5, 2.25, "Käuzchen")], [])
    table = write(
        field / "all.csv",
        ("File", "Start", "End", "Label"),
        ("night.wav", "1,5", "2,25", "owl"),
        sep=";",
        encoding=encoding,
        end=end,
    )
    assert read(table) == ([("night.wav", 1.5, 2.25, "owl")], [])


def test_a_selection_seen_in_two_views_counts_once_and_two_selections_of_equal_time_twice(field: Path) -> None:
    file = write(
        field / "night.Table.1.selections.txt",
        (*RAVEN, "Species"),
        (1, "Waveform 1", 1, "1.0", "2.0", 0, 8000, "frog"),
        (1, "Spectrogram 1", 1, "1.0", "2.0", 0, 8000, "frog"),
        (2, "Spectrogram 1", 1, "1.0", "2.0", 0, 8000, "owl"),
    )
    labels, said = read(file)
    assert labels == [("night.wav", 1.0, 2.0, "frog"), ("night.wav", 1.0, 2.0, "owl")]
    assert said == [f"{file}: {FREQUENCIES}"]


def test_selections_through_recordings_that_follow_each_other_have_their_offsets(field: Path) -> None:
    header = (*RAVEN, "Begin File", "File Offset (s)", "Annotation")
    rows = (
        (1, "Spectrogram 1", 1, 10, 11.5, 0, 8000, "night.wav", 10, "frog"),
        (2, "Spectrogram 1", 1, 70, 71, 0, 8000, "day.flac", 10.0, "owl"),
    )
    file = write(field / "survey.txt", header, *rows)
    assert read(file)[0] == [("night.wav", 10.0, 11.5, "frog"), ("day.flac", 10.0, 11.0, "owl")]
    without = write(field / "survey.txt", (*header[:-2], header[-1]), *((*row[:-2], row[-1]) for row in rows))
    with pytest.raises(UserError, match=r"survey.txt: it has selections of 2 recordings and no column File Offset"):
        read(without)


@pytest.mark.parametrize(
    ("columns", "asked", "expected"),
    [
        ({"Label": "c", "Annotation": "b", "Species": "a", "Comment": "d"}, None, "a"),
        ({"Label": "c", "Species": "", "Comment": "d"}, None, "c"),
        ({"Common Name": "c", "Class": "d", "Probability": "0.9", "Delta Time (s)": "1"}, None, "d"),
        ({"Class": "d", "Common Name": "c"}, "class", "d"),
        ({"Type": "7"}, None, "7"),
    ],
)
def test_the_label_is_in_the_likeliest_column_or_in_the_one_that_is_named(
    field: Path, columns: dict[str, str], asked: str | None, expected: str
) -> None:
    file = write(field / "night.txt", (*RAVEN, *columns), (1, "Spectrogram 1", 1, 1, 2, 0, 8000, *columns.values()))
    assert read(file, column=asked)[0] == [("night.wav", 1.0, 2.0, expected)]


def test_a_column_that_is_named_is_found_in_a_table_whose_lines_could_be_a_label_track(field: Path) -> None:
    file = write(field / "night.txt", ("begin", "end", "call"), ("1.0", "2.0", "frog"))
    assert read(file, column="call") == ([("night.wav", 1.0, 2.0, "frog")], [])


def test_a_column_that_is_not_there_is_an_error_with_the_columns_there_are(field: Path) -> None:
    file = write(field / "night.txt", (*RAVEN, "Species"), (1, "Spectrogram 1", 1, 1, 2, 0, 8000, "a"))
    with pytest.raises(UserError, match=r"no table has a column Call; .*night.txt has Selection, .*, Species"):
        read(file, column="Call")
    bare = write(field / "night.txt", RAVEN, (1, "Spectrogram 1", 1, 1, 2, 0, 8000))
    with pytest.raises(UserError, match=r"none of its columns holds a label.*--label-column"):
        read(bare)
    with pytest.raises(UserError, match=r"no column for the label .*; it has start, end, call"):
        read(write(field / "night.csv", ("start", "end", "call"), (1, 2, "a"), sep=","))


def test_a_recording_is_found_beside_the_table_or_below_the_folder_of_recordings(field: Path, tmp_path: Path) -> None:
    header = ("file", "start", "end", "label")
    table = write(
        tmp_path / "tables" / "a.csv",
        header,
        ("C:\\old\\river\\dusk.wav", 1, 2, "frog"),
        ("dusk.wav", 1, 2, "frog"),
        ("lost.wav", 1, 2, "frog"),
        ("lost.wav", 2, 3, "frog"),
        sep=",",
    )
    labels, said = read(table, recordings=field)
    assert labels == [("dusk.wav", 1.0, 2.0, "frog")]
    assert read_labels([table], field).annotations[0].file == str(field / "far/river/dusk.wav")
    assert said == [
        rf"{table}:2: C:\old\river\dusk.wav is taken for far/river/dusk.wav",
        f"{table}:3: there are several recordings called dusk.wav (far/pond/dusk.wav, far/river/dusk.wav);"
        " give more of the path in a column file; skipped",
        f"{table}:4 and 1 more line: there is no recording lost.wav; skipped",
    ]
    pond = write(tmp_path / "tables" / "pond" / "dusk.txt", (1, 2, "frog"))
    assert read_labels([pond], field).annotations[0].file == str(field / "far/pond/dusk.wav")
    nothing = write(tmp_path / "tables" / "nobody.txt", (1, 2, "frog"))
    assert read(nothing, recordings=field) == (
        [],
        [
            f"{nothing}:1: there is no recording called nobody beside the table or in {field},"
            " and the table does not name one; skipped"
        ],
    )


def test_every_line_that_cannot_be_a_clip_is_named_with_its_number(field: Path) -> None:
    file = write(field / "night.txt", (1, 2, "ok"), (3, 2, "a"), (4, 4, "a"), ("x", 5, "a"), (5, 6, ""), (-1, 2, "a"))
    labels, said = read(file)
    assert labels == [("night.wav", 1.0, 2.0, "ok")]
    assert [line.removeprefix(f"{file}:").split(";")[0] for line in said] == [
        "2: it ends at 2 s, before its start at 3 s",
        "3: it is a point label at 4 s, and a clip needs a length",
        "4: its start or end is not a number of seconds: x\\t5\\ta",
        "5: it has no label",
        "6: it starts 1 s before the recording",
    ]


def test_thousands_of_problems_of_one_kind_are_one_line_with_examples_and_each_is_in_the_list(field: Path) -> None:
    rows = [(f"lost{i}.wav", 1, 2, "a") for i in range(3000)]
    problems = read_labels(
        [write(field / "all.csv", ("file", "start", "end", "label"), *rows, sep=",")], field
    ).problems
    assert [problem.line for problem in problems] == list(range(2, 3002))
    assert {problem.reason for problem in problems} == {f"there is no recording lost{i}.wav" for i in range(3000)}
    [line] = told(problems)
    assert line.startswith(f"3000 lines skipped: {field}/all.csv:2: there is no recording lost0.wav; ")
    assert line.endswith("; and 2997 more cases like these")
    tables = [write(field / f"t{i}.txt", (1, 2, "a")) for i in range(50)]
    assert len(read(*tables)[1]) == 1


def test_a_folder_is_searched_and_a_table_or_a_line_that_is_there_twice_counts_once(field: Path) -> None:
    file = write(field / "night.txt", (1, 2, "a"), (1, 2, "a"), (1, 2, "b"))
    write(field / ".hidden.txt", (5, 6, "a"))
    write(field / "far" / "pond" / "dusk.txt", (3, 4, "c"))
    notes = write(field / "notes.txt", ("it rained",))
    labels, said = read(field, file)
    assert sorted(labels) == [("dusk.wav", 3.0, 4.0, "c"), ("night.wav", 1.0, 2.0, "a"), ("night.wav", 1.0, 2.0, "b")]
    assert [line.split(";")[0] for line in said] == [
        f"{notes}: it is not a table of labels: its first line is 'it rained'"
    ]
    write(field / "empty.txt")
    assert any(line.startswith(f"{field}/empty.txt: it is empty: there is no recording") for line in read(field)[1])


def test_a_file_that_is_not_a_table_is_an_error_when_it_is_named(field: Path) -> None:
    with pytest.raises(
        UserError, match=r"not a table of labels: its first line is 'it rained'; expected is .*Audacity"
    ):
        read(write(field / "notes.txt", ("it rained",)))
    with pytest.raises(UserError, match=r"night.txt: it is not UTF-8 text"):
        read(write(field / "night.txt", (1, 2, "Käuzchen"), encoding="latin-1"))
    with pytest.raises(UserError, match=r"gone is not there"):
        read(field / "gone")
