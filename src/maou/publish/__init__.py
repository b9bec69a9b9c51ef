"""Mirroring finished artefacts to GCS or S3, in the background."""
