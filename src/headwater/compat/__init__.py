"""Other libraries' interfaces on headwater's engine: code written for them runs as it is."""
