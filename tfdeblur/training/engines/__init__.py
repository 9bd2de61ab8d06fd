"""Training engines: what turns a batch into an updated state."""
