"""Text for people: names that cannot move a cursor or run in a spreadsheet, and counts in the units they use."""

import csv
import io
import re
import shutil
import sys
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence

# A spreadsheet takes a cell that begins so for a formula, and runs it (OWASP, "CSV Injection"); the apostrophes are
# those of csv_line().
_FORMULA = re.compile("'*[=+\\-@\t\r\n\0\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def printable(name: str) -> str:
    r"""Return `name` with everything escaped that could move a cursor or end a line.

    Bytes that are not UTF-8 (surrogates, as `os.fsdecode` makes them) come out as ``\udcXX``.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def csv_line(cells: Iterable[object]) -> str:
    """Return a line of a CSV file, with its end.

    A text that a spreadsheet would run gets an apostrophe before it, which plain_cell() takes away; numbers stay as
    they are.
    """
    line = io.StringIO()
    # The writer quotes cells with a character of its own line end, and readers end a line at both characters.
    csv.writer(line, lineterminator="\r\n").writerow(map(_cell, cells))
    return line.getvalue().removesuffix("\r\n") + "\n"


def _cell(value: object) -> object:
    if value is None or isinstance(value, int | float):
        return value
    text = str(value)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def plain_cell(text: str) -> str:
    """Return the text that csv_line() was given for a cell."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def is_utf8(path: str) -> bool:
    """Whether a name that the system gave is valid UTF-8, as every name in a cache is."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_utf8(name: str) -> str:
    """Return a name that the system gave as a cache has it: bytes that are not UTF-8 are escaped."""
    return name if is_utf8(name) else printable(name)


def plain(name: str) -> str:
    """Return a name as it is compared with others: in one case and Unicode form."""
    return unicodedata.normalize("NFC", name).casefold()


def terminal_width() -> int | None:
    """Return the width of the terminal that stdout is; None for a file or a pipe, whose lines are not folded."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def human_count(n: int, noun: str) -> str:
    """Return how many there are as people write it: 1 clip, 36 clips."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def human_percent(share: float) -> str:
    """Return a share in [0, 1] as people write it: 73.3 %."""
    return f"{100 * share:.1f} %"


def human_interval(ends: tuple[float, float]) -> str:
    """Return an interval of shares in [0, 1] as people write it: 67.2 to 96.9 %."""
    return "{:.1f} to {:.1f} %".format(*(100 * end for end in ends))


def aligned(rows: Sequence[Sequence[str]], to_left: Collection[int]) -> list[str]:
    """Return the rows of a table as lines, some columns aligned to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if i in to_left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def human_list(items: Sequence[str], most: int = 12, separator: str = ", ") -> str:
    """Return items as people list them, the first so many and how many more there are: a, b and 3 more."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return separator.join(map(printable, items[:most])) + more


def files_by_kind(counts: Mapping[str, int]) -> str:
    """Return the numbers of files by extension, the most frequent first: 30 .m4a, 2 .txt."""
    kinds = sorted(counts.items(), key=lambda kind: (-kind[1], kind[0]))
    return ", ".join(f"{n} {printable(extension) or 'without an extension'}" for extension, n in kinds)


def human_size(n_bytes: float) -> str:
    """Return a number of bytes as people write it: 999 B, 12.3 MB, 1.3 GB (powers of 1000)."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if n_bytes < 1000 or unit == "TB":
            break
        n_bytes /= 1000
    return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.1f} {unit}"


def human_seconds(seconds: float) -> str:
    """Return a duration as people write it: 0.42 s, 12.3 s, 4 min 05 s, 2 h 03 min, 3 days 7 h."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} days {hours % 24} h"
