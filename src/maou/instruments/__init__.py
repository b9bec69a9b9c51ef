"""Measuring a run before it is made, with the real loader and the real loop."""
