"""Benchmarks: each reports ratios between programs that were timed in alternation."""
