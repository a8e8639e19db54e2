"""Callbacks that record checkpoints in the training loops of other libraries."""
