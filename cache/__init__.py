"""The HDF5 file between the stages: its layout, its one writer and its memory-mapping reader."""

from cache.layout import CacheError
from cache.reader import Cache, open_cache

__all__ = ["Cache", "CacheError", "open_cache"]
