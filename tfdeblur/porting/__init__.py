"""Weights that were trained elsewhere: reading their files, and giving each array its place."""
