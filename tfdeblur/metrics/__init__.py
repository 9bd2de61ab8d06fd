"""Image quality metrics, each with the protocol it follows."""
