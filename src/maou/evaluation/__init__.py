"""Measuring saved networks on game records."""
