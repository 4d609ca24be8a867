"""Clips to normalised mel spectrograms, once, into the cache."""
