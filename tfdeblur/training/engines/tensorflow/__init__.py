"""The TensorFlow engine: strategies, the training step, determinism."""
