"""The clips of a folder, as a run of featurize finds them."""

from pathlib import Path

from cache.shared.tree import CLASS_NAMES, class_places
from featurize.audio import find
from featurize.audio.find import Found, walk_data


def find_clips(data: Path, names: tuple[str, ...] = CLASS_NAMES, max_per_class: int = 0) -> Found:
    """Walk the folders of some classes, each called as its folder."""
    walked = walk_data(data, class_places(data), names)
    return find.find_clips(walked, {name: (name,) for name in names}, max_per_class)
