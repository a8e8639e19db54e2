"""`kill -9` of real processes that build a bank: what was committed is used, and nothing else."""

import random
import time
from collections import Counter

import pytest

from headwater import BankIncompleteError, BankNotFoundError
from headwater.evaluation import RetrainedBank
from headwater.evaluation.bank_files import BankFiles
from tests.processes import Started

from .building import COUNT, RUNS, build

pytestmark = pytest.mark.end_to_end

MODELS = COUNT * RUNS


def test_a_bank_whose_builders_are_killed_ends_as_one_that_was_left_alone(tmp_path):
    generator = random.Random(20230324)
    build(lambda: None, tmp_path / "alone")
    expected = {path.name: path.read_bytes() for path in (tmp_path / "alone").glob("*.*")}
    folder, outcomes = tmp_path / "killed", Counter()
    for _ in range(6):
        process = Started(build, folder)
        begun, step = time.perf_counter(), 0.0
        for _ in range(generator.randrange(1, 3)):
            process.hear()
            begun, step = time.perf_counter(), time.perf_counter() - begun
        # Models are counted, not seconds: the moment is within the work on one.
        time.sleep(generator.uniform(0, 1) * min(step, 0.02))
        assert process.kill()
        try:
            RetrainedBank.open(folder)
            outcomes["complete"] += 1
        except BankIncompleteError:
            outcomes["incomplete"] += 1
        except BankNotFoundError:
            outcomes["none"] += 1
        for path in folder.glob("part-*.safetensors"):
            assert path.read_bytes() == expected[path.name]
    assert outcomes["incomplete"] >= 4
    bank = build(lambda: None, folder)
    assert bank.measured().shape == (RUNS, COUNT, 10)
    assert {path.name: path.read_bytes() for path in folder.glob("*.*")} == expected
    assert BankFiles(folder).strangers() == []
