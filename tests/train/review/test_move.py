"""Moving corrected clips between class folders: nothing is overwritten or lost, and undo is the folder from before."""

import errno
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import soundfile

from cache import Cache, open_cache
from cache.labels.corrections import Correction, Decision, append_correction
from featurize import build
from tests.helpers.commands import train_here
from tests.helpers.made_runs import made_crossval
from tests.helpers.sounds import noise
from train.review import move
from train.review.move import move_clips, undo_moves

PATHS = [f"{name}/{i}.wav" for name in ("dog", "cat", "bird") for i in range(3)]


def write(file: Path, seed: int, seconds: float = 0.1) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, noise(round(16000 * seconds), seed=seed), 16000)


def tree(data: Path) -> dict[str, bytes]:
    return {file.relative_to(data).as_posix(): file.read_bytes() for file in data.rglob("*") if file.is_file()}


def decide(cache: Cache, path: str, decision: Decision, new: str = "") -> None:
    row = cache.paths.index(path)
    sha256, old = cache.columns["sha256"][row].decode(), cache.class_names[cache.labels[row]]
    one = Correction(sha256, path, old, decision, new, "kim", "2026-01-01T10:00:00+00:00", "runs/x")
    append_correction(cache.file.with_name("corrections.csv"), one)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for seed, path in enumerate(PATHS):
        write(tmp_path / "data" / path, seed)
    return tmp_path / "data"


def test_clips_lie_in_the_folders_of_their_classes_afterwards_and_undo_puts_all_back(data: Path) -> None:
    for path in ("dog/a/x.wav", "cat/b/y.wav"):
        write(data / path, len(path) + ord(path[4]))
    cache, said = build(data, data.parent / "features.h5").cache, list[str]()
    before = tree(data)
    for path, new in (("dog/a/x.wav", "cat"), ("cat/b/y.wav", "owl")):
        decide(cache, path, Decision.CHANGE, new)
    assert move_clips(cache, data, said.append) == (2, data.parent / "moved.csv")
    assert said == []
    names = {"dog/a/x.wav": "cat/a/x.wav", "cat/b/y.wav": "owl/b/y.wav"}
    assert tree(data) == {names.get(path, path): content for path, content in before.items()}
    after = build(data, data.parent / "features.h5").cache
    assert after.class_names[after.labels[after.paths.index("cat/a/x.wav")]] == "cat"
    assert after.n_corrected == 0
    assert move_clips(after, data, said.append)[0] == 0
    assert undo_moves(after, data, said.append) == 2
    assert tree(data) == before
    assert not (data.parent / "moved.csv").exists()
    assert said == []


class Killed(BaseException):
    """As SIGKILL: nothing of the code runs after it."""


@pytest.mark.parametrize("step", range(6))
@pytest.mark.parametrize("undoing", [False, True])
@pytest.mark.parametrize("has_links", [True, False])
def test_a_kill_at_any_step_loses_nothing_and_the_same_command_goes_on(
    step: int, undoing: bool, has_links: bool, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, before = build(data, data.parent / "features.h5").cache, tree(data)
    for path, new in (("dog/1.wav", "owl"), ("bird/0.wav", "owl")):
        decide(cache, path, Decision.CHANGE, new)
    names = {"dog/1.wav": "owl/1.wav", "bird/0.wav": "owl/0.wav"}
    after = {names.get(path, path): content for path, content in before.items()}
    work: Callable[[], object] = partial(move_clips, cache, data, pytest.fail)
    if undoing:
        work()
        work = partial(undo_moves, cache, data, pytest.fail)
    n_steps = 0

    def stopping(do: Callable[..., object]) -> Callable[..., object]:
        def step_of(*arguments: object, **named: object) -> object:
            nonlocal n_steps
            n_steps += 1
            if n_steps == step + 1:
                raise Killed
            return do(*arguments, **named)

        return step_of

    def no_link(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP if undoing else errno.EPERM, "as a stick and a share say it")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", stopping(os.link) if has_links else no_link)
        for name in ("unlink", "replace", "mkdir"):
            patch.setattr(Path, name, stopping(getattr(Path, name)))
        patch.setattr(move, "append_line", stopping(move.append_line))
        try:
            work()
        except Killed:
            assert {*tree(data).values()} - {b""} == {*before.values()}
    with monkeypatch.context() as patch:
        if not has_links:
            patch.setattr(os, "link", no_link)
        if (data.parent / "moved.csv").exists() or not undoing:
            work()
    assert tree(data) == (before if undoing else after)
    if not undoing:
        undo_moves(cache, data, pytest.fail)
        assert tree(data) == before


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: write(data / "cat" / "1.wav", 99), "cat/1.wav exists already"),
        (lambda data: write(data / "dog" / "1.wav", 99), "its content has changed since"),
        (lambda data: (data / "dog" / "1.wav").unlink(), "it is gone"),
        (
            lambda data: (
                (data / "dog" / "1.wav").rename(data.parent / "1.wav"),
                (data / "dog" / "1.wav").symlink_to(data.parent / "1.wav"),
            ),
            "it is a link",
        ),
        (
            lambda data: ((data / "cat").rename(data.parent / "cat"), (data / "cat").symlink_to(data.parent / "cat")),
            "a link leads out of the folder of clips",
        ),
    ],
)
def test_a_clip_that_cannot_be_moved_stays_and_is_named(
    change: Callable[[Path], object], reason: str, data: Path
) -> None:
    (data / "cat" / "1.wav").unlink()
    cache, said = build(data, data.parent / "features.h5").cache, list[str]()
    decide(cache, "dog/1.wav", Decision.CHANGE, "cat")
    change(data)
    before = tree(data)
    assert move_clips(cache, data, said.append)[0] == 0
    assert said == [f"dog/1.wav stays where it is: {reason}"]
    assert tree(data) == before


def test_what_no_folder_is_for_stays_and_a_name_that_leads_elsewhere_is_refused(data: Path) -> None:
    cache, before, said = build(data, data.parent / "features.h5").cache, tree(data), list[str]()
    decide(cache, "dog/0.wav", Decision.UNUSABLE)
    decide(cache, "dog/1.wav", Decision.BOTH, "cat")
    decide(cache, "dog/2.wav", Decision.UNSURE)
    decide(cache, "cat/0.wav", Decision.CHANGE, "../../outside")
    assert move_clips(cache, data, said.append)[0] == 0
    assert said == [
        "dog/0.wav stays where it is: it is unusable, so featurize rejects it",
        "dog/1.wav stays where it is: it is of dog and cat, so featurize rejects it",
        "cat/0.wav stays where it is: ../../outside/0.wav would lie elsewhere",
    ]
    assert tree(data) == before


def test_a_segment_of_a_recording_is_named_since_its_label_stands_in_a_table(tmp_path: Path) -> None:
    write(tmp_path / "data" / "night.wav", 0, seconds=10)
    (tmp_path / "night.txt").write_text("1\t2\towl\n3\t4\tfrog\n5\t6\towl\n")
    cache = build(tmp_path / "data", tmp_path / "features.h5", labels=tmp_path / "night.txt").cache
    decide(cache, cache.paths[0], Decision.CHANGE, "frog")
    said: list[str] = []
    assert move_clips(cache, tmp_path / "data", said.append)[0] == 0
    assert said == [
        f"{cache.paths[0]} stays where it is: it is a segment of a recording, whose label stands in a table"
    ]


def test_within_train_and_test_a_clip_stays_in_its_subset(tmp_path: Path) -> None:
    for seed, path in enumerate(f"{part}/{name}/{i}.wav" for part in ("train", "test") for name in "ab" for i in "01"):
        write(tmp_path / "data" / path.replace("b/", "b/later-"), seed)
    cache = build(tmp_path / "data", tmp_path / "features.h5", classes="all").cache
    decide(cache, "test/a/1.wav", Decision.CHANGE, "b")
    assert move_clips(cache, tmp_path / "data", pytest.fail)[0] == 1
    assert (tmp_path / "data" / "test" / "b" / "1.wav").exists()


def test_the_command_moves_and_undoes_and_says_what_is_next(data: Path) -> None:
    cache, before = build(data, data.parent / "features.h5").cache, tree(data)
    run = made_crossval(data.parent / "run", cache.file)
    decide(cache, "dog/1.wav", Decision.CHANGE, "owl")
    done = train_here("review", run, "--move")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"1 clip moved; {data.parent}/moved.csv has their old names",
        f"undo: python -m train review {run} --undo-move",
        f"next: python -m featurize {data}",
    ]
    assert (data / "owl" / "1.wav").exists()
    done = train_here("review", run, "--undo-move")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "1 clip moved back")
    assert tree(data) == before
    done = train_here("review", run, "--undo-move")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "there is nothing to move back" in done.stderr
    for others in (["--undo-move", "--move"], ["nights", "--move"], ["--move", "--only", "dog"]):
        assert train_here("review", run, *others).returncode == 2


def test_undo_leaves_what_has_another_clip_in_its_place_and_keeps_its_line(data: Path) -> None:
    (data / "cat" / "1.wav").unlink()
    cache, said = build(data, data.parent / "features.h5").cache, list[str]()
    decide(cache, "dog/1.wav", Decision.CHANGE, "cat")
    decide(cache, "bird/0.wav", Decision.CHANGE, "owl")
    assert move_clips(cache, data, said.append)[0] == 2
    write(data / "dog" / "1.wav", 99)
    assert undo_moves(cache, data, said.append) == 1
    assert said == ["cat/1.wav stays where it is: dog/1.wav exists already"]
    (data / "dog" / "1.wav").unlink()
    assert undo_moves(open_cache(cache.file), data, said.append) == 1
    assert {*tree(data)} == {*PATHS} - {"cat/1.wav"}


def test_undo_never_takes_a_link_in_the_old_place_for_the_clip_itself(data: Path) -> None:
    write(data / "dog" / "7.wav", 77)
    cache, said = build(data, data.parent / "features.h5").cache, list[str]()
    decide(cache, "dog/7.wav", Decision.CHANGE, "cat")
    content = (data / "dog" / "7.wav").read_bytes()
    assert move_clips(cache, data, said.append)[0] == 1
    (data / "dog" / "7.wav").symlink_to("../cat/7.wav")
    assert undo_moves(cache, data, said.append) == 0
    assert said == ["cat/7.wav stays where it is: dog/7.wav exists already"]
    assert (data / "cat" / "7.wav").read_bytes() == content


def test_undo_keeps_lines_that_it_cannot_read_and_touches_nothing_outside(data: Path) -> None:
    write(data / "dog" / "7.wav", 77)
    cache, said = build(data, data.parent / "features.h5").cache, list[str]()
    decide(cache, "dog/7.wav", Decision.CHANGE, "cat")
    _, file = move_clips(cache, data, said.append)
    empty = data.parent / "empty.wav"
    empty.touch()
    with file.open("a") as table:
        table.write(f"0,../empty.wav,cat/0.wav,2026\n0,{empty},cat/0.wav,2026\ncut sho")
    before = file.read_text()
    assert undo_moves(cache, data, said.append) == 1
    assert (data / "dog" / "7.wav").exists()
    assert empty.exists()
    assert file.read_text() == before
    assert said == [f"{file}: line 3 and 2 more skipped, because it is not a moved clip"]
