"""Checkpoints: what is in them, which are kept, how weights are read."""
