"""Synthetic blur and noise."""
