"""Training: the trainer, the loop, callbacks, and the state and step of each engine."""
