"""What predictions can be written as: rows (see tables.py), or labels in the format of another program (labels.py)."""

from enum import StrEnum


class PredictFormat(StrEnum):
    """What predictions can be written as."""

    text = "text"
    csv = "csv"
    json = "json"
    audacity = "audacity"
    raven = "raven"
