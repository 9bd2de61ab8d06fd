"""Import of published PyTorch weights: reading the files and mapping their arrays."""
