"""Making a broken step again, to see where it breaks."""
