"""Fault tolerance: lock, signals, watchdog, worker checks, incidents; `guarded_run` has it all."""
