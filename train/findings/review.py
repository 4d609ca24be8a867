"""opened_findings(): a server of the review page for the findings of a run in recordings."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from cache.shared.cli import notice
from cache.shared.errors import Interrupted, UserError
from cache.shared.files import locked, own_folder
from cache.shared.text import printable
from train.findings.desk import FindingDesk
from train.findings.find import find, find_recordings
from train.predict.results import LABELS
from train.review.review import opened_server
from train.review.server import Server
from train.runs.directory import Run

OUT = "reviewed"


@contextmanager
def opened_findings(
    run: Run,
    paths: Sequence[str],
    thresholds: Mapping[str, float],
    out: Path | None = None,
    predictions: Path | None = None,
    class_name: str | None = None,
    port: int = 0,
) -> Iterator[Server]:
    """Classify recordings as far as that is not done, and yield a server that is ready to serve.

    Raises a UserError if the recordings, the run or a table cannot be used, there is nothing to review, or the port is
    taken.

    Parameters
    ----------
    thresholds
        By class; a detection below it is not a finding.
    out
        The folder for decisions and labels; None: `reviewed` in the folder of the recordings.
    predictions
        A table of `predict --format csv`; None: a hidden one in `out`.
    class_name
        Review only findings of this class.
    """
    recordings = find_recordings(paths)
    if class_name is not None and class_name not in run.class_names:
        raise UserError(f"there is no class {class_name!r} in {run.folder}; there are {', '.join(run.class_names)}")
    folder = out or recordings.folder / OUT
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        own_folder(folder)
    except OSError as error:
        raise UserError(f"{folder} cannot be made ({error.strerror}); give another folder with --out") from None
    doing, remedy = f"reviews recordings into {folder}", "let it finish, or give another folder with --out"
    with locked(folder / ".lock", doing, remedy, notice):
        table = predictions or folder / _table_name(run)
        try:
            found = find(run, recordings, thresholds, table, notice)
        except Interrupted as stop:
            stop.kept = f"the finished recordings are in {table}; the same command goes on"
            raise
        if not (found := [one for one in found if class_name in (None, one.label)]):
            what = f"no {printable(class_name)}" if class_name else "nothing"
            raise UserError(f"{what} is found in the recordings; --threshold 0.3, for example, finds more")
        desk = FindingDesk(run, recordings, found, folder, notice)
        if not desk.items:
            raise UserError(f"every finding is decided already; the labels are in {folder}")
        notice(f"decisions go into {desk.file}, and labels beside it into the folders {' and '.join(LABELS)}")
        with opened_server(desk, desk.file, port) as server:
            yield server


def _table_name(run: Run) -> str:
    """Return the name of the predictions of a run, which is another run if it was trained again."""
    digest = sha256(f"{run.folder} {run.record.started}".encode("utf-8", "surrogateescape")).hexdigest()
    return f".{digest[:8]}.predictions.csv"
