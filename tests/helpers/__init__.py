"""Support for tests: small data sets, networks and runs, and planted faults."""
