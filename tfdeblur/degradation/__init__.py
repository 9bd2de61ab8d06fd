"""Image degradation: blur, noise and compression, in NumPy and in TensorFlow."""
