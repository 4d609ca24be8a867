"""From the cache to a trained, honestly scored model."""
