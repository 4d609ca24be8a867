"""audio_names() and is_utf8(): which files of a folder are clips, by their names."""

import os

# By name, what libsndfile or FFmpeg's libraries read without being told the sample rate.
AUDIO_EXTENSIONS = frozenset(
    {".wav", ".wave", ".wavex", ".bwf", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff"}
    | {".aifc", ".au", ".snd", ".caf", ".svx", ".8svx", ".iff", ".voc", ".avr", ".paf", ".fap", ".pvf", ".sds", ".sf"}
    | {".ircam", ".nist", ".sph", ".wve", ".xi", ".htk"}
    | {".mp1", ".mp2", ".mpa", ".mpga", ".m4a", ".m4b", ".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".aac", ".adts", ".amr"}
    | {".awb", ".webm", ".weba", ".mka", ".mkv", ".wma", ".wmv", ".asf", ".ogx", ".ogv", ".spx", ".ac3", ".eac3"}
    | {".dts", ".ape", ".wv", ".tta", ".tak", ".mpc", ".avi", ".flv", ".ts", ".mts", ".mpg", ".mpeg", ".loas"}
)


def audio_names(folder: str | os.PathLike[str]) -> list[str]:
    """Return the names with an audio extension in any case, hidden ones apart, sorted; an OSError passes through."""
    # os.listdir(), not pathlib, which would cost more than all the rest of a run with nothing to do.
    names = os.listdir(folder)  # noqa: PTH208
    return sorted(n for n in names if not n.startswith(".") and os.path.splitext(n)[1].lower() in AUDIO_EXTENSIONS)  # noqa: PTH122


def is_utf8(path: str) -> bool:
    """Whether a name that the system gave is valid UTF-8, as every name in a cache is."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
