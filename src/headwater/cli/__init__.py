"""The command `headwater`: the questions of the library, asked from the terminal.

It needs the extra `cli`. `headwater.cli.main` works without, to say so.
"""
