import time

import pytest

from benchmarks.time_limit import TookTooLong, limited, within
from headwater import InputError
from headwater.evaluation import Method


def test_what_takes_too_long_is_interrupted():
    begun = time.monotonic()
    with pytest.raises(TookTooLong, match="took longer than 0 s"), within(0.05):
        time.sleep(60)
    assert time.monotonic() - begun < 30


def test_what_is_in_time_goes_on():
    with within(0.2):
        pass
    time.sleep(0.3)


class Endless:
    def influence(self):
        time.sleep(60)


def test_a_method_that_takes_too_long_fails_as_methods_do():
    method = limited(Method("endless", lambda run: Endless()), 0.05)
    with pytest.raises(InputError, match="self-influence took longer than 0 s"):
        method.make(None).influence()
