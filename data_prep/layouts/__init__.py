"""Shared by sources: reads folders, matches halves, applies list files, assigns splits."""
