"""What guards a run: lock, signals, watchdog, worker checks, incidents."""
