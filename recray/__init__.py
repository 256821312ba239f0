"""recray."""
