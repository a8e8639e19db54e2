"""Files that are whole or absent, in folders with one writer."""

from headwater.files.one_writer import lock_for_writing
from headwater.files.whole import put_in_place, replacing, write_whole
from headwater.files.writable import refuse_unwritable

__all__ = ["lock_for_writing", "put_in_place", "refuse_unwritable", "replacing", "write_whole"]
