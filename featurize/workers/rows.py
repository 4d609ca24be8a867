"""The rows of a clip: one of it as a whole, or of a long one a row for each of some windows; Room, where they go."""

import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.file.columns import ROW_SHAPE, Row
from cache.file.settings import MelSettings
from cache.shared.errors import UserError
from cache.shared.files import as_path, write_all
from cache.shared.segment import Crop, Grid, Segment, grid, recording_of
from cache.shared.types import Float32
from featurize.audio.audio import Audio, ClipError, Reading, audio_of, check_sr
from featurize.audio.find import Clip
from featurize.audio.pieces import Loudest, cut_windows, open_clip
from featurize.audio.resample import Sound, mono_blocks, n_resampled, sound_remark
from featurize.features.profiles import Wish, asked_settings, resolved_settings
from featurize.features.row import check_reach, energy, n_frames_of, write_spectrogram

Rows = npt.NDArray[Any]

# The end of a span that has no other end: more samples than a clip has.
_ALL = 1 << 62


class Room:
    """Room for rows, which are added one by one; without a file it grows in memory."""

    def __init__(self, block: Rows, file: Path | None = None) -> None:
        self.block = block  # shape (some rows, 128, 128, 1)
        self.error: OSError | None = None  # the file's error, not raised: decoders would take it for the clip's
        self._path = file
        self._file = -1
        self._kept: list[Rows] = []
        self._n_kept = self._n_block = 0  # rows that have left the block, and rows in it

    @property
    def n(self) -> int:
        """How many rows there are."""
        return self._n_kept + self._n_block

    @property
    def in_file(self) -> bool:
        """Whether the rows are in the file."""
        return self._file >= 0

    def next(self) -> Rows:
        """Return the place of the next row, which counts once it is added."""
        if self._n_block == len(self.block):
            self._empty_block()
        place: Rows = self.block[self._n_block]
        return place

    def add(self) -> None:
        """Count the row that was written to the place of the next one."""
        self._n_block += 1

    def cut(self, n: int) -> None:
        """Forget all rows behind the first n."""
        if n >= self._n_kept:
            self._n_block = n - self._n_kept
            return
        if self._file >= 0:
            os.ftruncate(self._file, n * self.block[0].nbytes)
        else:
            rows = np.concatenate(self._kept)[:n]
            self._kept = [rows] if n else []
        self._n_kept, self._n_block = n, 0

    def close(self) -> Rows:
        """Return the rows if they are in memory; otherwise they are all in the file."""
        if not self.in_file:
            return np.concatenate([*self._kept, self.block[: self._n_block]]) if self._kept else self.block[: self.n]
        self._empty_block()
        os.close(self._file)
        return self.block[:0]

    def _empty_block(self) -> None:
        rows = self.block[: self._n_block]
        if not len(rows):
            return
        if self._path is None:
            self._kept.append(rows.copy())
        else:
            try:
                if self._file < 0:
                    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
                    self._file = os.open(self._path, flags, 0o666)
                write_all(self._file, rows.data, self._n_kept * self.block[0].nbytes)
            except OSError as error:
                self.error = error
                raise
        self._n_kept, self._n_block = self.n, 0


def rows_in(file: Path, block: Rows) -> Iterator[Rows]:
    """Yield the rows of a file that a Room filled, as many at a time as a block holds, and delete it."""
    with file.open("rb", buffering=0) as rows:
        file.unlink()
        while len(part := np.fromfile(rows, block.dtype, block.size)):
            yield part.reshape(-1, *block.shape[1:])


def add_rows(clip: Clip, audio: Audio, sha256: str, settings: MelSettings, crop: Crop, room: Room) -> list[Row]:
    """Add the rows of a clip to a room, and return their entries.

    Raises a ClipError if the clip cannot be used; then the room may hold some of its rows.
    """
    if crop.crop == "middle":
        return [_add_row(clip, audio, sha256, settings, room)]
    windows, n_before = grid(settings.row_seconds, crop.overlap, audio.sr), room.n
    if 0 < audio.n_samples <= windows.length:
        row = _add_row(clip, audio, sha256, settings, room)
        if round(row.duration * audio.sr) <= windows.length:
            return [row]
        # There are more samples than the header states.
        room.cut(n_before)
    cut = _Windows(clip, audio, sha256, settings, windows)
    rows = cut.add_loudest(crop.n_windows, room) if crop.crop == "loudest" else cut.add_all(room)
    # A clip that is not longer than a window after all, or has no sound, is a row as a whole.
    return rows or [_add_row(clip, audio, sha256, settings, room)]


def _add_row(clip: Clip, audio: Audio, sha256: str, settings: MelSettings, room: Room) -> Row:
    row = row_of(clip, audio, sha256, settings, room.next())
    room.add()
    return row


def row_of(clip: Clip, audio: Audio, sha256: str, settings: MelSettings, x: Rows) -> Row:
    """Write the row of a clip as a whole, and return its entry."""
    out = x if x.dtype == np.float32 else np.empty(ROW_SHAPE, np.float32)
    n_samples, sound = write_row(audio, settings, out)
    remark = sound_remark(audio, sound, out, settings.row_seconds, settings.sr)
    if sound.decoded.remark:
        remark = f"{sound.decoded.remark}; {remark}" if remark else sound.decoded.remark
    if out is not x:
        x[...] = out
    return Row(
        clip.path,
        clip.size,
        clip.mtime_ns,
        sha256,
        n_frames_of(n_samples, settings),
        sound.decoded.n_samples / audio.sr,
        audio.sr,
        audio.format,
        zlib.crc32(x.data),
        remark,
        clip.inode,
        *clip.span,
    )


def write_row(audio: Audio, settings: MelSettings, out: Float32) -> tuple[int, Sound]:
    """Write one clip's spectrogram; return its length in samples at `settings.sr`, and what the clip proved to be."""
    check_reach(audio.sr, settings)
    announced = n_resampled(audio.n_samples, audio.sr, settings.sr)
    waveform = Reading(mono_blocks(audio, settings.sr))
    n_samples = write_spectrogram(waveform, announced, settings, out[:, :, 0])
    if n_samples != announced:
        # The header was wrong about the length, or did not state it, so the centre was taken from the wrong place.
        write_spectrogram(mono_blocks(audio, settings.sr), n_samples, settings, out[:, :, 0])
    return n_samples, waveform.result


class _Windows:
    """The windows of a clip, which come while it is decoded once."""

    def __init__(self, clip: Clip, audio: Audio, sha256: str, settings: MelSettings, windows: Grid) -> None:
        self._clip, self._audio, self._sha256 = clip, audio, sha256
        self._settings, self._grid = settings, windows
        self._stream = Reading(audio.pieces([(0, _ALL)]))

    def add_all(self, room: Room) -> list[Row]:
        """Add the row of each window in which there is sound."""
        rows = []
        for first, y in self._cut():
            x = room.next()
            row = self._row(first, y, x)
            if x.any():
                room.add()
                rows.append(row)
        return self._of_clip(rows)

    def add_loudest(self, n: int, room: Room) -> list[Row]:
        """Add the rows of the n windows with the most energy of which none overlaps another by more than half."""
        loudest = Loudest[tuple[Row, Rows]](n, self._grid)
        for first, y in self._cut():
            at = energy(mono_blocks(self._window(y), self._settings.sr), self._n_resampled(y), self._settings)
            if loudest.may_have(at, first):
                x = room.next()
                row = self._row(first, y, x)
                if x.any():
                    loudest.add(at, first, (row, x.copy()))
        for _, x in loudest.chosen:
            room.next()[...] = x
            room.add()
        return self._of_clip([row for row, _ in loudest.chosen])

    def _cut(self) -> Iterator[tuple[int, Float32]]:
        """Yield the first sample and the samples of each window; none if the clip is not longer than one."""
        parts = (part for _, part in self._stream)
        for first, y, is_whole in cut_windows(parts, self._grid, self._grid.length):
            if not is_whole:
                yield first, y

    def _window(self, y: Float32) -> Audio:
        return audio_of(y, self._audio.sr, self._audio.format)

    def _n_resampled(self, y: Float32) -> int:
        return n_resampled(len(y), self._audio.sr, self._settings.sr)

    def _row(self, first: int, y: Float32, x: Rows) -> Row:
        sr, segment = self._audio.sr, self._clip.segment
        first += segment.samples(sr)[0] if segment else 0
        channel = segment.channel if segment else 0
        window = Segment(self._clip.file, round(first / sr, 6), round((first + len(y)) / sr, 6), channel)
        clip = self._clip._replace(path=window.path, segment=window)
        return row_of(clip, self._window(y), self._sha256, self._settings, x)

    def _of_clip(self, rows: list[Row]) -> list[Row]:
        """Return the entries with what is known only at the end of the clip."""
        if not rows:
            return []
        decoded = self._stream.result
        assert decoded is not None
        # A remark on only some of the windows is not a remark on the clip.
        remarks = [decoded.remark, rows[0].remark if all(row.remark for row in rows) else ""]
        seconds = decoded.n_samples / self._audio.sr
        first, *others = (row._replace(clip=self._clip.path, clip_duration=seconds, remark="") for row in rows)
        return [first._replace(remark="; ".join(filter(None, remarks))), *others]


def featurize_clip(
    clip: str | os.PathLike[str] | npt.NDArray[np.floating], settings: Wish = None, *, sr: int | None = None
) -> Float32:
    """Compute the normalised mel spectrogram of one clip, to the bit as it would be in a cache.

    Returns an array of shape (128, 128, 1), in [0, 1]. Raises a ClipError if the clip cannot be used; the message says
    why, and names the file.

    Parameters
    ----------
    clip
        An audio file, the path of a segment as a cache has it, or samples: floats of shape (n,), or (n_channels, n) of
        which the mean is taken.
    settings
        The feature settings, as for `build`; the project's contract by default.
    sr
        The sample rate of samples in Hz.
    """
    wanted, out = resolved_settings(asked_settings(settings)), np.empty(ROW_SHAPE, np.float32)
    if not isinstance(clip, str | os.PathLike):
        write_row(_audio_of(clip, sr), wanted, out)
        return out
    path = str(as_path(clip, "clip"))
    if Path(path).is_dir():
        raise ClipError(f"{path}: it is a folder, not a file")
    try:
        with open_clip(path) as audio:
            write_row(audio, wanted, out)
    except ClipError as error:
        gone = not Path(recording_of(path)).exists() and not Path(path).exists()
        raise ClipError(f"{path}: {'there is no such file' if gone else error}", error.passing) from None
    return out


def _audio_of(y: npt.NDArray[np.floating], sr: int | None) -> Audio:
    """Return samples as an open clip."""
    if sr is None:
        raise UserError("samples need their sample rate; give it as featurize_clip(y, sr=22050)")
    y = np.asarray(y)
    if y.dtype.kind != "f":
        raise UserError(f"samples are {y.dtype}; give floats, of which 1.0 is full scale")
    if y.ndim not in (1, 2) or y.size == 0:
        raise UserError(f"samples have the shape {y.shape}; give (n,) or (n_channels, n)")
    check_sr(sr, "the sample rate is")
    with np.errstate(over="ignore"):  # a sample that is too large is refused when the row is finished
        samples = np.ascontiguousarray(np.atleast_2d(y).T, np.float32)
    return audio_of(samples, sr, y.dtype.name)
