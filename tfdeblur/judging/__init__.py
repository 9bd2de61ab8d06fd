"""What the commands that judge have in common: opening a network and going over its checkpoints."""
