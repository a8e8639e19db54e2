"""What `headwater evaluate` does, a measure a module."""
