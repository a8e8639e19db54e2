"""Other libraries' ways of answering the same questions, one file each.

Each is given what its documentation recommends: its fastest documented mode, its best batch size,
checkpoints in memory where it takes them.
"""
