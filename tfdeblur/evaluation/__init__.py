"""Evaluation of restoration networks: scores, reports and comparisons."""
