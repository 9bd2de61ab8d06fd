"""Benchmarks: each shows a ratio of two things that ran side by side."""
