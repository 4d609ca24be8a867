"""ClipDesk: the clips of a run to review, the most doubtful labels first, with their sound."""

import mmap
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cache import Cache
from cache.labels.corrections import FILE, Correction, Decision, append_correction, read_corrections
from cache.shared.cli import notice
from cache.shared.errors import UserError
from cache.shared.text import human_count, printable
from featurize.audio.pieces import open_clip
from train.dataset.rows import seconds_shown
from train.dataset.splits import group_names
from train.report.figures import spectrogram_png
from train.report.mistakes import find_suspects, mistakes_and_others, note_on_windows, verdict
from train.report.page import LONGEST, encoded, original_of, playable
from train.review.desk import Desk, Item
from train.review.server import Server, opened_server
from train.runs.directory import data_folder, own_cache
from train.runs.record import FINISHED, Record, read_record
from train.runs.tables import read_nearest, read_predictions


@dataclass(frozen=True, kw_only=True)
class Clip(Item):
    """A clip to review; its key is the sha256 of its content, and its probabilities are the mean over its tests."""

    place: int  # among the clips of the cache
    near: list[int]  # the places of the clips most like it, the nearest first, and first those with its label


def opened_review(
    run: Path, cache_file: Path | None, data: Path | None, class_name: str | None, port: int = 0
) -> AbstractContextManager[Server]:
    """Return a server that is ready to serve a review of a finished run, or only of the clips with one label.

    The cache and its clips may be elsewhere now; a port of 0 is a free one. Raises a UserError if the run or the cache
    cannot be used, there is nothing to review, or the port is taken.
    """
    cache, data = reviewed(run, cache_file, data)
    clips = make_queue(run, read_record(run), cache, class_name)
    return opened_server(ClipDesk(clips, cache, data, str(run)), port)


def reviewed(run: Path, cache_file: Path | None, data: Path | None) -> tuple[Cache, Path]:
    """Return the cache of a run and the folder of its clips, where they are now."""
    record = read_record(run)
    cache = own_cache(run, record, cache_file, "so say where it is with --cache")
    return cache, data or data_folder(cache, Path(record.cache.file))


def make_queue(folder: Path, record: Record, cache: Cache, class_name: str | None = None) -> list[Clip]:
    """Order the clips that a run tested: suspects, then other mistakes, then the least certain of the others.

    A cross-validation, which tests all clips, is better for that than a fit. Clips that the cache does not have any
    more, or under another label, are skipped with a notice. With a class name, only clips with this label are taken.
    Raises a UserError if the run is not finished or tested no clips, there is no such class, or there is nothing to
    review.
    """
    if record.state != FINISHED or record.metrics is None:
        raise UserError(f"{folder} has no predictions to review; give a finished fit or cross-validation with a test")
    names = record.class_names
    if class_name is not None and class_name not in names:
        raise UserError(f"there is no class {class_name!r} in {folder}; there are {', '.join(names)}")
    tested = read_predictions(folder, names)
    suspects, others = find_suspects(tested).tolist(), np.concatenate(mistakes_and_others(tested)).tolist()
    place_of = {path: place for place, path in enumerate(cache.clip_paths)}
    speakers, sha256 = group_names([*place_of], record.group_by), cache.clip_sha256
    labels, n_windows = cache.clip_labels, np.bincount(cache.clips)
    nearest = _nearest(folder)
    mean, doubted = tested.mean, set(suspects)
    clips, n_gone = [], 0
    for clip in dict.fromkeys([*suspects, *others]):
        path, true, p = tested.paths[clip], int(tested.labels[clip]), mean[clip].tolist()
        if class_name not in (None, names[true]):
            continue
        place = place_of.get(path)
        if place is None or cache.class_names[labels[place]] != names[true]:
            n_gone += 1
            continue
        best = int(mean[clip].argmax())
        why = verdict(names[best], p[best], names[true], p[true]) if best != true else "the network is not sure"
        clips.append(
            Clip(
                key=sha256[place],
                path=path,
                label=names[true],
                probabilities=dict(sorted(zip(names, p, strict=True), key=lambda share: -share[1])),
                why=f"{why[0].upper()}{why[1:]}. {note_on_windows(n_windows[place])}".rstrip(),
                speaker=speakers[place] or "",
                suspect=clip in doubted,
                place=place,
                near=[place_of[other] for other in nearest.get(path, ()) if other in place_of],
            )
        )
    if n_gone:
        notice(
            f"{human_count(n_gone, 'clip')} skipped, because {cache.file} does not have them any more or has them"
            " under another label"
        )
    if not clips:
        raise UserError(f"{folder} has no clips to review")
    return clips


def _nearest(folder: Path) -> dict[str, list[str]]:
    """Return the clips most like each one, none with a notice if their table is missing or damaged."""
    try:
        return read_nearest(folder)
    except UserError as error:
        notice(f"warning: {error}; until then, clips that are alike are not shown")
        return {}


def wav_of(data: Path, path: str, duration: float, middle: float) -> bytes:
    """Decode a clip, which may be a segment, by its path in the cache; of a long one `LONGEST` as starts_at() says.

    Raises a UserError for the page if the path leads out of DATA, or the clip cannot be read.
    """
    with open_clip(str(original_of(data, path))) as audio:
        start = starts_at(duration, middle)
        first, last = round(start * audio.sr), round((start + min(duration, LONGEST)) * audio.sr) + audio.sr
        blocks = [playable(block) for _, block in audio.pieces([(first, last)])]
        if not blocks:
            raise UserError("it holds no samples")
        return encoded(np.concatenate(blocks)[: round(LONGEST * audio.sr)], audio.sr)


def starts_at(duration: float, middle: float) -> float:
    """Return where in a clip its WAV begins, in seconds, given the middle of what its row shows."""
    return max(0.0, min(middle - LONGEST / 2, duration - LONGEST))


class ClipDesk(Desk[Clip, Correction]):
    """Clips of a run, and the table of corrections beside their cache, in which the run is called `run`."""

    kind, decisions = "clip", frozenset(Decision) - {Decision.REJECTED}

    def __init__(self, clips: Sequence[Clip], cache: Cache, data: Path, run: str) -> None:
        # featurize follows a link to the cache, and looks for the table in the folder that the link leads to.
        file = cache.file.resolve().with_name(FILE)
        super().__init__(clips, cache.class_names, cache.settings, file)
        self.cache, self.data, self.run = cache, data, run
        self.paths, self.labels, self.durations = cache.clip_paths, cache.clip_labels, cache.clip_durations.tolist()
        self.decided.update(read_corrections(file, notice))

    def item(self, index: int, view: int = 0) -> dict[str, object]:
        """Return what the page shows of one clip; times in seconds within it."""
        clip = self.items[index]
        starts, ends = self._seconds(clip.place)
        duration = self.durations[clip.place]
        return {
            **super().item(index, view),
            "starts": starts,
            "ends": ends,
            "sound_starts": starts_at(duration, (starts + ends) / 2),
            "duration": duration,
            "near": [
                {"label": printable(self.classes[self.labels[place]]), "path": printable(self.paths[place])}
                for place in clip.near
            ],
        }

    def _seconds(self, place: int) -> tuple[float, float]:
        return seconds_shown(self.cache, int(self.cache.first_rows[place]))

    def _place(self, index: int, view: int) -> int:
        places = [self.items[index].place, *self.items[index].near]
        if not 0 <= view < len(places):
            raise UserError("there is no such clip")
        return places[view]

    def picture(self, index: int, view: int = 0) -> bytes:
        """Return the spectrogram of a clip without its padding, as a PNG."""
        row = self.cache.first_rows[self._place(index, view)]
        x = np.array(self.cache.X[row, :, : int(self.cache.columns["n_frames"][row]), 0], np.float32)
        # The pages of the rows that were shown would count as this process's memory until it ends.
        if isinstance(self.cache.X.base, mmap.mmap):
            self.cache.X.base.madvise(mmap.MADV_DONTNEED)
        return spectrogram_png(x)

    def sound(self, index: int, view: int = 0) -> bytes:
        """Return the sound of a clip as a WAV."""
        place = self._place(index, view)
        return wav_of(self.data, self.paths[place], self.durations[place], sum(self._seconds(place)) / 2)

    def write(self, item: Clip, choice: Decision, new: str, span: object, when: str) -> Correction:
        """Append a correction; a clip has no edges."""
        one = Correction(str(item.key), item.path, item.label, choice, new, self.who, when, self.run)
        append_correction(self.file, one)
        return one
