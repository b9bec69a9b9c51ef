"""Crash-safe directories that hold a network and its training state."""
