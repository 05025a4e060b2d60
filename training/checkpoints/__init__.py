"""Weights on disk: our own files and the published ones."""
