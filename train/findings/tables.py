"""Tables: the labels of reviewed recordings, for Audacity and for Raven, written again after each decision.

A folder that the review shares with people holds them, and people open and change such tables. So a table is replaced
only if it is as the review left it, by its digest in a hidden file beside.
"""

import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

from cache.labels.annotation import Region
from cache.shared.errors import UserError
from cache.shared.files import own_folder, read_text, replacing
from cache.shared.text import printable
from train.predict.results import LABELS
from train.predict.sinks import label_text

_WRITTEN = ".written.json"


class Tables:
    """The tables in a folder: `raven/<recording>.selections.txt` and `audacity/<recording>.labels.txt`.

    A selection has the frequencies of a band in Hz.
    """

    def __init__(self, folder: Path, band: tuple[float, float], notify: Callable[[str], None]) -> None:
        self.folder, self.band, self.notify = folder, band, notify
        # While a table is replaced, it has both the old digest and the new one: a kill may come before or after.
        self.written: dict[str, list[str]] = {}
        self.left: set[str] = set()
        if (file := folder / _WRITTEN).exists():
            try:
                self.written = {str(name): [*map(str, its)] for name, its in json.loads(read_text(file)).items()}
            except (ValueError, AttributeError, TypeError, RecursionError):
                raise UserError(f"{file} is damaged; delete it, and the tables beside it that are not yours") from None

    def write(self, recording: str, regions: Sequence[Region]) -> None:
        """Write the tables of a recording, by its path from the folder of all; a table of somebody else stays.

        Raises a UserError if a folder is a link, and an OSError if a table cannot be written.
        """
        for format, kind in LABELS.items():
            content = label_text(format, recording, regions, self.band).encode() if regions else b""
            self._replace(f"{format}/{recording}{kind.ENDING}", content)

    def _replace(self, name: str, content: bytes) -> None:
        file = self.folder / name
        there, wanted = (sha256(file.read_bytes()).hexdigest() if file.exists() else ""), sha256(content).hexdigest()
        if there in ("", wanted):
            self.written[name] = [wanted]
        elif there not in self.written.get(name, ()):
            if name not in self.left:
                self.notify(f"{file} is left as it is, because somebody changed it; move it away to have it written")
            self.left.add(name)
            return
        self.left.discard(name)
        if there == wanted or not (there or content):
            return
        self.written[name] = [one for one in (there, wanted) if one]
        with replacing(self.folder / _WRITTEN) as beside:
            beside.write_text(json.dumps(self.written))
        if not content:
            file.unlink()  # an empty table would say that nothing calls in the recording
            return
        folder = self.folder
        for part in Path(name).parent.parts:
            folder = own_folder(folder / part)
        with replacing(file) as beside:
            beside.write_bytes(content)

    @property
    def note(self) -> str:
        """Which tables are left as they are, in words; "" if none is."""
        if not self.left:
            return ""
        return f"Left as it is, because somebody changed it: {', '.join(map(printable, sorted(self.left)))}."
