"""Restoring photographs and videos of any size."""
