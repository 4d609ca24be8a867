"""FindingDesk: the answers to the review page: findings, some seconds around each, and decisions about them."""

import math
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from threading import Lock

from cache.shared.errors import UserError
from cache.shared.text import human_count, printable
from cache.shared.tree import is_background
from featurize.update.classes import BACKGROUND
from train.findings.find import Finding, Recordings
from train.findings.rulings import FILE, Ruling, Verdict, append_ruling, key_of, read_rulings, regions_of
from train.findings.tables import Tables
from train.findings.view import View, span_of, view_of
from train.predict.windows import settings_of
from train.review.desk import answered, reviewer, ticks
from train.runs.directory import Run


class FindingDesk:
    """The findings in recordings, in the order of review, the table of decisions, and the labels that follow."""

    n_suspects = 0

    def __init__(
        self,
        run: Run,
        recordings: Recordings,
        findings: Sequence[Finding],
        folder: Path,
        notify: Callable[[str], None],
    ) -> None:
        self.run, self.folder, self.file = run, folder, folder / FILE
        self.home, self.settings = recordings.folder, settings_of(run)
        self.background = next(filter(is_background, run.class_names), BACKGROUND)
        rulings = read_rulings(self.file, notify)
        self.ruled = {one.key: one for one in rulings}
        self.items = _undecided(findings, rulings, notify)
        self.keys = [_key(one) for one in self.items]
        self.tables = Tables(folder, (self.settings.fmin, self.settings.fmax), notify)
        self.who, self._writing, self._cutting, self._error = reviewer(), Lock(), Lock(), ""
        new = {region.label for one in rulings for region in one.regions} - {*run.class_names, self.background}
        self.classes = [*run.class_names, *sorted(new)]
        self._view: Callable[[int, int], View] = lru_cache(maxsize=4)(self._cut)
        for finding in {one.recording: one for one in findings}.values():
            self._write_labels(finding)

    def state(self) -> dict[str, object]:
        """Return what the page shows of all findings together; a label and a group are indices of their names."""
        groups = {name: i for i, name in enumerate(sorted({one.recording for one in self.items}))}
        return {
            "kind": "finding",
            "classes": [printable(name) for name in self.classes],
            "labels": [self.classes.index(one.label) for one in self.items],
            "group_names": [*groups],
            "groups": [groups[one.recording] for one in self.items],
            "n_suspects": 0,
            "file": printable(str(self.file)),
            "tables": printable(str(self.folder / "raven")),
            "ticks": ticks(self.run.settings),
            "background": printable(self.background),
            **self.progress(),
        }

    def progress(self) -> dict[str, object]:
        """Return the indices of the findings that are decided, and a note for the reviewer."""
        done = [i for i, key in enumerate(self.keys) if key in self.ruled]
        return {"done": done, "n_suspects_done": 0, "note": printable(self._error or self.tables.note)}

    def item(self, index: int, shift: int = 0) -> dict[str, object]:
        """Return what the page shows of one finding; times in seconds within its recording."""
        finding = self.items[index]
        start, end = span_of(finding, shift, self.settings)
        was = self.ruled.get(self.keys[index])
        return {
            "path": finding.recording,
            "label": printable(finding.label),
            "probabilities": [[printable(name), p] for name, p in list(finding.probabilities.items())[:4]],
            "why": finding.why,
            "suspect": False,
            "starts": start,
            "ends": end,
            "sound_starts": start,
            "duration": finding.duration,
            "found": [finding.start, finding.end],
            "edges": [was.new_start, was.new_end] if was else [finding.start, finding.end],
            "decision": was and {"decision": was.decision, "new": printable(was.new)},
        }

    def picture(self, index: int, shift: int = 0) -> bytes:
        """Return the spectrogram of a view as a PNG."""
        return self.view(index, shift).picture

    def sound(self, index: int, shift: int = 0) -> bytes:
        """Return the sound of a view as a WAV."""
        return self.view(index, shift).sound

    def view(self, index: int, shift: int) -> View:
        """Return a view; one is cut at a time, so that memory does not grow with impatience."""
        with self._cutting:
            return self._view(index, shift)

    def _cut(self, index: int, shift: int) -> View:
        return view_of(self.items[index], shift, self.settings)

    def decide(self, index: object, decision: object, new: object, span: object = None) -> dict[str, object]:
        """Write a decision into the table, and then the labels of the recording; return the progress after it.

        Raises a UserError if it is not a decision about one of the findings, or it cannot be written.
        """
        if type(index) is not int or not 0 <= index < len(self.items):
            raise UserError("there is no such finding")
        finding = self.items[index]
        kind, new = answered(Verdict, decision, new, self.classes, f"a finding of {finding.label}", finding.label)
        new = self.background if kind is Verdict.REJECTED else new
        edges = (finding.start, finding.end) if span is None or kind is Verdict.UNDO else _span(span, finding)
        when = datetime.now(UTC).isoformat(timespec="microseconds")
        ruling = Ruling(
            *(finding.recording, finding.start, finding.end, finding.label, kind, new, *edges),
            *(self.who, when, str(self.run.folder)),
        )
        with self._writing:
            append_ruling(self.file, ruling)
            if kind is Verdict.UNDO:
                self.ruled.pop(ruling.key, None)
            else:
                self.ruled[ruling.key] = ruling
            self._write_labels(finding)
        return self.progress()

    def _write_labels(self, finding: Finding) -> None:
        """Write the label tables of a finding's recording, which the next decision or start repeats if it fails."""
        its = [one for one in self.ruled.values() if one.recording == finding.recording]
        try:
            name = os.path.relpath(finding.file.absolute(), self.home).replace(os.sep, "/")
            self.tables.write(name, regions_of(its))
            self._error = ""
        except OSError as error:
            self._error = f"the labels in {self.folder} cannot be written ({error.strerror or error})"
        except UserError as error:
            self._error = str(error)


def _key(finding: Finding) -> tuple[str, str, str, str]:
    return key_of(finding.recording, finding.start, finding.end, finding.label)


def _undecided(findings: Sequence[Finding], rulings: Sequence[Ruling], notify: Callable[[str], None]) -> list[Finding]:
    """Return the findings that no ruling on another finding, such as one of an earlier run, has labelled."""
    keys = {one.key for one in rulings}
    of: dict[str, list[Ruling]] = {}
    for one in rulings:
        of.setdefault(one.recording, []).append(one)
    kept = [
        one
        for one in findings
        if _key(one) in keys or not any(ruling.covers(one.start, one.end) for ruling in of.get(one.recording, ()))
    ]
    if n := len(findings) - len(kept):
        notify(f"{human_count(n, 'finding')} skipped because decided findings cover the same sound")
    return kept


def _span(span: object, finding: Finding) -> tuple[float, float]:
    """Return edges that the page sent."""
    if not isinstance(span, list) or len(span) != 2 or not all(type(one) in (int, float) for one in span):
        raise UserError("the edges are not two numbers of seconds")
    start, end = (round(float(one), 6) for one in span)
    if not (math.isfinite(start) and 0 <= start < end <= finding.duration + 1e-6):
        raise UserError(f"a finding cannot go from {start} s to {end} s in a recording of {finding.duration:.2f} s")
    return start, end
