"""`headwater check` and `headwater checkpoints`."""
