"""resolve(): the content that a cache is to have, by the options, by its own memory, and by DATA."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from cache.file.header import ABOUT_LABELS, COLUMN_FIELDS, Header
from cache.file.reader import Cache, open_cache
from cache.labels.annotation import Problem, told
from cache.labels.read import Labels
from cache.shared.errors import DamagedCache, MissingCache, UserError
from cache.shared.files import Stamp, stamp_of
from cache.shared.options import checked_value, options_in
from cache.shared.segment import MIDDLE
from cache.shared.text import human_count, human_list, printable
from cache.shared.tree import Places, class_places
from featurize.audio.find import Found, Walked, find_clips, nothing_found, walk_data
from featurize.features.profiles import resolved_settings
from featurize.features.row import FEATURE_VERSION
from featurize.update.classes import classes_of, label_names, recordings_of
from featurize.update.options import ALL, MOST_BACKGROUND, Options
from featurize.update.segments import Segments, Shapes, labels_in, segments_of, shapes, usual_length

# The options that a cache remembers.
_REMEMBERED = [one.name for one in fields(Header) if one.name in options_in(Options)]


class Request(NamedTuple):
    """The content that a cache is to have, resolved once, with all that was found on the way."""

    options: Options  # the options as they were given
    cache_file: Path  # the file itself, where the user named a link
    old: Cache | None  # the cache that is there; None if there is none, or a damaged one
    damage: str  # the fault of the damaged cache that is there; "" if there is none
    stamp: Stamp | None  # by this the file that is there is recognised
    header: Header  # that of the cache, without the parts that are known only when it is written
    found: Found  # the clips
    problems: Sequence[Problem]  # labels that are skipped, and other remarks on lines of tables

    @property
    def is_stale(self) -> bool:
        """Whether another cache has taken the place of the old one."""
        return _stamp_at(self.cache_file) != self.stamp

    @property
    def names_classes(self) -> bool:
        """Whether the user asked for the classes by their names."""
        return self.options.classes not in ((), (ALL,))


def resolve(options: Options, notify: Callable[[str], None]) -> Request:
    """Return the content that a cache is to have; an option that is not given stays as the cache remembers it.

    The old cache is opened once, each table is read once, and DATA is walked once. Raises a UserError if DATA has no
    such class folder, or none at all; nothing can be made of the labels; or the file that is there is not a cache.
    """
    data = options.data
    if not data.is_dir():
        raise UserError(f"{data} is not a folder; give the folder that holds a folder of clips per class")
    cache_file = Path(os.path.realpath(options.cache_file))
    _check_place(cache_file)
    stamp = _stamp_at(cache_file)
    old, damage = _opened(cache_file)
    before = None if old is None else old.header
    if old is not None and os.path.isdir(old.data_folder) and not os.path.samefile(old.data_folder, data):  # noqa: PTH112, PTH121
        notify(f"{options.cache_file} has clips of {old.data_folder}; it gets those of {data} instead")
    tables = _tables(options, old)
    header = replace(
        _asked(options, old, bool(tables)),
        data_dir=os.path.relpath(data, cache_file.parent),
        tables=tuple(os.path.relpath(path, cache_file.parent) for path in tables),
    )
    shape_of = shapes(data)
    places = class_places(data)
    walked, labels = _walked_for_labels(data, places, tables, header, shape_of, notify)
    walked, classes = classes_of(options, before, places, walked, labels, bool(header.background), notify)
    if header.widen or header.background:
        last = 0.0 if before is None else before.label_length
        length = usual_length(labels.annotations, classes, last, header.settings.row_seconds, notify)
        header = replace(header, label_length=length)
    header = header.of_classes(classes)
    segments = segments_of(data, labels, header, shape_of, notify)
    _check_labels(header, labels, segments)
    found = find_clips(walked, classes, header.max_per_class, segments.clips, recordings_of(labels))
    problems = [*labels.problems, *segments.problems]
    request = Request(options, cache_file, old, damage, stamp, header, found, problems)
    return _without_empty(request, walked, segments, notify)


def _stamp_at(file: Path) -> Stamp | None:
    try:
        return stamp_of(file.stat())
    except OSError:
        return None


def _check_place(cache_file: Path) -> None:
    if not cache_file.parent.is_dir():
        raise UserError(f"{cache_file.parent} is not a folder; make it, or choose another place with --cache")
    if cache_file.exists() and not cache_file.is_file():
        raise UserError(f"{cache_file} is not a file; give --cache the name of a file to make or to bring up to date")


def _opened(cache_file: Path) -> tuple[Cache | None, str]:
    """Return the cache that is there, if it can be used, and what is wrong with a damaged one."""
    try:
        return open_cache(cache_file), ""
    except MissingCache:
        return None, ""
    except DamagedCache as error:
        return None, str(error).split("; make it again")[0]


def _tables(options: Options, old: Cache | None) -> list[Path]:
    """Return the tables of labels, and folders of them: those that the cache remembers, and those that are given."""
    remembered = [] if old is None or options.forgets_tables else old.table_paths
    for path in remembered:
        if not path.exists():
            raise UserError(
                f"{path} is not there, and the cache has labels of it; put it back, or forget it with --labels none and"
                " give the others again"
            )
    given = [path.absolute() for path in options.labels[options.forgets_tables :]]
    return list(dict.fromkeys([*remembered, *given]))


def _asked(options: Options, old: Cache | None, has_tables: bool) -> Header:
    """Return the header that is asked for; an option that is not given stays as the cache remembers it."""
    default, before = Header(), Header() if old is None else old.header
    given = {
        name: str(value) if isinstance(value, StrEnum) else value
        for name in _REMEMBERED
        if (value := getattr(options, name)) is not None
    }
    if not has_tables and any(map(given.get, ABOUT_LABELS)):
        raise UserError(
            "--file-column, --start-column, --end-column, --label-column, --point, --widen and --background are about"
            " labels; give a table with --labels"
        )
    # Columns belong to the tables, and are forgotten with them.
    forgotten = ABOUT_LABELS if not has_tables else COLUMN_FIELDS if options.forgets_tables else ()
    kept: dict[str, Any] = {name: getattr(default if name in forgotten else before, name) for name in _REMEMBERED}
    settings = resolved_settings(options.settings, None if old is None else old.settings)
    asked = Header(settings, FEATURE_VERSION, **kept | given)
    checked_value("background", asked.background, int, 0, MOST_BACKGROUND)
    if asked.crop == "middle" and options.overlap is not None:
        raise UserError("--overlap is about windows of long clips; ask for them with --crop segments or loudest")
    if asked.crop != "loudest" and options.n_windows is not None:
        raise UserError("--n-windows is about the loudest windows of long clips; ask for them with --crop loudest")
    if asked.crop == "middle":
        return replace(asked, **MIDDLE._asdict())
    return asked if asked.crop == "loudest" else replace(asked, n_windows=1)


def _walked_for_labels(
    data: Path,
    places: Places,
    tables: Sequence[Path],
    asked: Header,
    shape_of: Shapes,
    notify: Callable[[str], None],
) -> tuple[Walked | None, Labels]:
    """Walk all of DATA, where recordings that have labels may lie anywhere, and read the labels.

    Raises a UserError if nothing can be used of the tables that are asked for; the message has each reason.
    """
    if not tables:
        return None, Labels([], [], [])
    walked = walk_data(data, places, places.names, with_rest=True)
    labels = labels_in(walked, tables, asked, shape_of)
    if not labels.annotations and not (labels.empty and asked.background):
        reasons = [line.removesuffix("; skipped") for line in told(one for one in labels.problems if one.skipped)]
        if labels.empty:
            n_empty = human_count(len(labels.empty), "recording")
            reasons.append(f"{n_empty} with an empty table: nothing calls there; --background takes segments of such")
        raise UserError("; ".join(["none of the labels can be used", *reasons]))
    for line in told(labels.problems):
        notify(line)
    return walked, labels


def _check_labels(header: Header, labels: Labels, segments: Segments) -> None:
    """Raise a UserError if labels are asked for and none gives a clip."""
    if not header.tables or segments.clips or segments.doubles:
        return
    names = human_list(label_names(labels.annotations))
    raise UserError(
        f"none of the labels is one of the classes {human_list(header.class_names)}; the labels are {names}:"
        " --classes all includes every label, and --labels none goes on without them"
    )


def _without_empty(request: Request, walked: Walked, segments: Segments, notify: Callable[[str], None]) -> Request:
    """Return the request without the classes whose labels are all the second of their segment.

    Raises a UserError if nothing was found of a class, or nothing usable of one that was asked for by its name.
    """
    there = {clip.label for clip in request.found.clips}
    for label, members in enumerate(request.header.members.values()):
        if label not in there and label not in segments.doubles:
            raise nothing_found(members, walked, request.found, bool(request.header.tables))
    reasons = {label: doubles[0] for label, doubles in segments.doubles.items() if label not in there}
    return without_classes(request, reasons, notify)


def without_classes(request: Request, reasons: Mapping[int, str], notify: Callable[[str], None]) -> Request:
    """Return the request without the classes that have no usable clip, for a reason each, by label index.

    Raises a UserError if one was asked for by its name, or no class is left.
    """
    members = list(request.header.members.items())
    for label, reason in reasons.items():
        name = printable(members[label][0])
        if request.names_classes or len(reasons) == len(members):
            raise UserError(
                f"{name} has no usable clip ({reason}); put clips there that can be read, or leave the class out with"
                " --classes"
            )
        notify(f"{name} has no usable clip ({reason}), so it is not a class of the cache")
    if not reasons:
        return request
    kept = [label for label in range(len(members)) if label not in reasons]
    clips = [clip._replace(label=kept.index(clip.label)) for clip in request.found.clips if clip.label in kept]
    header = request.header.of_classes(dict(members[label] for label in kept))
    return request._replace(header=header, found=request.found._replace(clips=clips))
