"""Corrections that lie beside caches, carried to the place of a cache that is made of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from cache.combine.chosen import Chosen
from cache.file.reader import Cache
from cache.labels.corrections import FILE, REVIEWED, Correction, Decision, every_correction, last_decisions
from cache.shared.errors import UserError
from cache.shared.files import replacing
from cache.shared.text import csv_line, human_count, human_list, printable

# Clips that an error names.
_N_SHOWN = 3


def corrections_beside(caches: Sequence[Cache], notify: Callable[[str], None]) -> list[Correction]:
    """Return the lines of all tables of corrections that lie beside caches, one table behind the other."""
    files = dict.fromkeys(cache.file.resolve().with_name(FILE) for cache in caches)
    return [one for file in files for one in every_correction(file, notify)]


@contextmanager
def carried(corrections: Sequence[Correction], chosen: Chosen, out: Path) -> Iterator[None]:
    """Write corrections beside a new cache, where featurize looks for them; they go again if the block fails.

    Raises a UserError if others are there already, or a clip is not as featurize would make it after these.
    """
    file = out.with_name(FILE)
    decisions = last_decisions(corrections)
    is_there = file.exists()
    if is_there:
        there = last_decisions(every_correction(file, lambda line: None))
        if lacking := [one.path for sha256, one in decisions.items() if _effect(there.get(sha256)) != _effect(one)]:
            raise UserError(
                f"{file} lacks {human_count(len(lacking), 'correction')} that the caches have"
                f" ({human_list(lacking, _N_SHOWN)}); append the lines of their {FILE} to it"
            )
        decisions = there
    if odd := _not_as_decided(chosen, decisions):
        raise UserError(
            f"{human_count(len(odd), 'clip')} {'is' if len(odd) == 1 else 'are'} not as {FILE} says"
            f" ({human_list(odd, _N_SHOWN)}); put one {FILE} with all corrections beside each cache, and bring them"
            " up to date with `python -m featurize` first"
        )
    is_new = bool(corrections) and not is_there
    if is_new:
        with replacing(file, sync=True) as beside:
            lines = [csv_line(Correction._fields), *map(csv_line, dict.fromkeys(corrections))]
            beside.write_text("".join(lines), "utf-8", "backslashreplace")
    try:
        yield
    except BaseException:
        if is_new:
            file.unlink(missing_ok=True)
        raise


def _not_as_decided(chosen: Chosen, decisions: Mapping[str, Correction]) -> list[str]:
    """Return the paths of clips that featurize would give another class, or reject, or not reject."""
    names, columns = chosen.header.class_names, chosen.columns
    odd = []
    for path, rows in chosen.clips.items():
        effect = _effect(decisions.get(columns["sha256"][rows[0]].decode()))
        if effect is None:
            is_odd = columns["corrected"][rows[0]] > 0
        else:
            is_odd = effect != (Decision.CHANGE, names[chosen.labels[rows[0]]])
        odd += [path] * bool(is_odd)
    reasons = {one.path: one.why_rejected(names) for one in decisions.values()}
    reviewed = (one for one in chosen.rejected if one.reason.startswith(REVIEWED))
    return odd + [one.path for one in reviewed if reasons.get(printable(one.path)) != one.reason]


def _effect(one: Correction | None) -> tuple[Decision, str] | None:
    """Return what a decision changes about a clip; None for nothing."""
    return None if one is None or one.decision in (Decision.RIGHT, Decision.UNSURE) else (one.decision, one.new)
