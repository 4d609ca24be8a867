"""A run directory that came from elsewhere may hold links: whatever writes into it writes through none."""

import ast
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from cache import open_cache
from cache.look import plot
from cache.shared.errors import UserError
from tests import ROOT
from tests.helpers.counting import Counting
from tests.helpers.made_runs import made_fit
from train.fitting.checkpoint import Checkpoint, best_epoch
from train.fitting.crossval import FoldResult, keep_fold
from train.predict.recordings import Kind, Recording, find_sources
from train.predict.rows import rows_file
from train.predict.sinks import Labels, Segments
from train.predict.windows import Detections
from train.recordings import page
from train.recordings.evaluate import RecordingsScore
from train.report import preview
from train.report.report import write_report
from train.runs.directory import CHECKPOINT, data_folder, held, open_run
from train.runs.record import read_record, write_record
from train.runs.results import FoldSummary
from train.runs.tables import read_history, write_history, write_predictions, write_split

# Names under which a writer might leave its work before it is whole.
TEMPORARY = ("{}.tmp", "{}.part", "{}.new", "next-{}", ".{}.tmp", "{}~")


@pytest.fixture(scope="module")
def made(tones_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_fit(tmp_path_factory.mktemp("made") / "run", tones_cache)


def save_checkpoint(folder: Path) -> None:
    history = read_history(folder)
    # The epoch after the best one is kept with the weights of both.
    with Checkpoint(folder) as kept:
        kept.save(Counting(), history[: best_epoch(history) + 1], [np.zeros(3, np.float32)])


def save_fold(folder: Path) -> None:
    fold = FoldSummary(1, 1, 24, 8, 3, 1.0, {}, n_epochs=1, best_epoch=1, seconds=1.0)
    keep_fold(folder, 1, FoldResult(fold, [], np.zeros((3, 2), np.float32), np.zeros((3, 1), np.intp), {}))


def save_labels(folder: Path) -> None:
    night = Recording(Path("night.wav"), Kind.CLIP, end=1.0, label="dog", probabilities={"dog": 1.0})
    Labels(open_run(folder), "audacity", {night.path: folder / "night.txt"}).write(night, Detections().take(night))


def save_segment(folder: Path) -> None:
    cache = open_cache(read_record(folder).cache.file)
    path = data_folder(cache) / cache.paths[0]
    clip = Recording(path, Kind.CLIP, end=0.5, label="dog", probabilities={"dog": 1.0})
    assert Segments(open_run(folder), find_sources([path]), folder).write(clip, Detections().take(clip)) == ""


def save_recordings(folder: Path) -> None:
    result = RecordingsScore(str(folder), "rec", 0, 0, 1.0, {}, [], [])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "render", lambda *_: "<html>")
        patch.setattr(page, "thresholds_figure", lambda _: Figure())
        page.write_page(folder, result)


def save_predictions(folder: Path) -> None:
    cache = open_cache(read_record(folder).cache.file)
    write_predictions(folder, cache, np.arange(len(cache)), cache.y)


def save_split(folder: Path) -> None:
    cache = open_cache(read_record(folder).cache.file)
    write_split(folder, cache, np.zeros(len(cache), np.int8))


def save_preview(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preview, "N_CLIPS_PER_CLASS", 1)
        patch.setattr(preview, "N_VARIATIONS", 0)
        preview.draw_preview(Path(read_record(folder).cache.file), folder / "preview.png", "compact", 0)


def save_sheet(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plot, "MAX_CLASSES", 1)
        plot.draw_sheet(open_cache(read_record(folder).cache.file), folder / "sheet.png", 0)


WRITERS: dict[str, Callable[[Path], object]] = {
    "run.json": lambda folder: write_record(folder, read_record(folder)),
    "split.csv": save_split,
    "history.csv": lambda folder: write_history(folder, [{"epoch": 1, "loss": 0.5}]),
    "predictions.csv": save_predictions,
    "an epoch": save_checkpoint,
    "a fold": save_fold,
    "report.html": write_report,
    "recordings.html": save_recordings,
    "labels": save_labels,
    "a segment": save_segment,
    "sheet.png": save_sheet,
    "preview.png": save_preview,
}


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("what", WRITERS)
def test_no_file_is_written_through_a_link(made: Path, tmp_path: Path, what: str) -> None:
    plain, linked = (Path(shutil.copytree(made, tmp_path / name)) for name in ("plain", "linked"))
    for folder in (plain, linked):
        (folder / CHECKPOINT).mkdir()
    before = {name: (plain / name).stat().st_ino for name in files(plain)}
    WRITERS[what](plain)
    written = {name for name in files(plain) if (plain / name).stat().st_ino != before.get(name)}
    assert written
    victims = tmp_path / "victims"
    victims.mkdir()
    precious = []
    for i, name in enumerate(sorted(written)):
        file = linked / name
        file.parent.mkdir(exist_ok=True)
        for j, link in enumerate([file.name] * (not file.exists()) + [form.format(file.name) for form in TEMPORARY]):
            victim = victims / f"{i}-{j}"
            victim.write_text("precious")
            (file.parent / link).symlink_to(victim)
            precious.append(victim)
    for name in files(linked) & written:  # a link that still leads to what the writer has to read
        if not (linked / name).is_symlink():
            victim = victims / name.replace("/", "-")
            (linked / name).rename(victim)
            (linked / name).symlink_to(victim)
    contents = {victim: victim.read_bytes() for victim in victims.iterdir()}
    WRITERS[what](linked)
    assert {victim: victim.read_bytes() for victim in victims.iterdir()} == contents
    assert {victim.read_text() for victim in precious} == {"precious"}
    for name in written:
        assert not (linked / name).is_symlink()
        assert (linked / name).is_file()


@pytest.mark.parametrize(
    ("folder", "writer"),
    [
        ("figures", write_report),
        ("figures", save_recordings),
        (CHECKPOINT, save_checkpoint),
        (CHECKPOINT, lambda run: held(run).__enter__()),
    ],
)
def test_a_folder_of_a_run_that_is_a_link_is_refused_in_words(
    made: Path, tmp_path: Path, folder: str, writer: Callable[[Path], object]
) -> None:
    run = Path(shutil.copytree(made, tmp_path / "run"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("precious")
    (run / folder).symlink_to(elsewhere)
    with pytest.raises(UserError, match=f"{folder} is a link"):
        writer(run)
    assert files(elsewhere) == {"precious"}


def test_a_lock_is_not_taken_through_a_link(made: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(made, tmp_path / "run"))
    (run / CHECKPOINT).mkdir()
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (run / CHECKPOINT / "lock").symlink_to(victim)
    with pytest.raises(UserError, match="lock is a link"), held(run):
        pass
    assert victim.read_text() == "precious"


def test_predictions_are_not_written_through_a_dangling_link(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "found.csv"
    out.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError), rows_file(open_run(made), out, "csv", resume=False):
        pass
    assert not (tmp_path / "elsewhere").exists()


# Calls that write a file.
_WRITING = {"write_text", "write_bytes", "savefig", "savez", "writelines"}
# These write into memory, or into a temporary folder that takes the place of its target as a whole.
_ELSEWHERE = {"formats.py", "figures.py"}


def is_replacing(node: ast.AST) -> bool:
    if not isinstance(node, ast.With):
        return False
    calls = [item.context_expr for item in node.items]
    return any(isinstance(call, ast.Call) and getattr(call.func, "id", "") == "replacing" for call in calls)


def written_directly(node: ast.AST, inside: bool = False) -> list[str]:
    """The calls that write a file and are not in a block of replacing()."""
    found = []
    for child in ast.iter_child_nodes(node):
        name = child.func.attr if isinstance(child, ast.Call) and isinstance(child.func, ast.Attribute) else ""
        to_screen = name == "writelines" and isinstance(child, ast.Call) and "self.out" in ast.unparse(child.func)
        if name in _WRITING and not inside and not to_screen:
            found.append(ast.unparse(child))
        found += written_directly(child, inside or is_replacing(child))
    return found


def test_no_module_writes_a_file_but_beside_its_target() -> None:
    files = [file for package in ("cache", "featurize", "train") for file in (ROOT / package).rglob("*.py")]
    found = {
        file.name: calls
        for file in files
        if file.name not in _ELSEWHERE and (calls := written_directly(ast.parse(file.read_text(encoding="utf-8"))))
    }
    assert found == {}
    assert written_directly(ast.parse("(folder / 'x').write_text('')")) == ["(folder / 'x').write_text('')"]
