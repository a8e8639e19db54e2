"""What the command's exit status says."""

DONE = 0
FOUND_WRONG = 1
USAGE = 2
BAD_INPUT = 3
BUG = 70
INTERRUPTED = 130

EXPLAINED = """\
Exit codes:

\b
  0    done
  1    `check` found inexact scores, or `store verify` a damaged file
  2    the command line can't be understood
  3    something that was given is wrong or missing: the attribution file, a
       path, a checkpoint, a store, an optional package; or every method that
       `evaluate` was to judge failed
  70   a bug in headwater; HEADWATER_TRACEBACK=1 shows where
  130  interrupted by Ctrl-C; no file is left half-written

Under torchrun these are the codes of the processes; its own is 1 if one failed.
"""
