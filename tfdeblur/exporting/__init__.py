"""Trained networks as SavedModels, LiteRT files and ONNX files."""
