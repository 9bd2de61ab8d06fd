"""Networks as single files for programs without TensorFlow; SavedModels are in `saving`."""
