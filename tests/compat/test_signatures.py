"""What a call may look like is what Captum allows."""

import inspect

import pytest

from headwater.compat import captum as ours
from headwater.compat.captum import DataInfluence, KMostInfluentialResults, TracInCPBase

captum = pytest.importorskip("captum.influence")

NAMES = ["TracInCPBase", "TracInCP", "TracInCPFast", "TracInCPFastRandProj"]
METHODS = ["__init__", "influence", "self_influence", "compute_intermediate_quantities"]
PAIRS = [
    (name, method) for name in NAMES for method in METHODS if hasattr(getattr(captum, name), method)
]


def arguments(function):
    """Names, kinds and defaults in order, without what only a keyword can reach."""
    parameters = inspect.signature(function).parameters.values()
    positional = [p for p in parameters if p.kind is not p.KEYWORD_ONLY]
    # The loader of checkpoints is the library's own.
    return [(p.name, p.kind, None if callable(p.default) else p.default) for p in positional]


@pytest.mark.parametrize(("name", "method"), PAIRS, ids=map("-".join, PAIRS))
def test_arguments_have_captums_names_order_and_defaults(name, method):
    theirs, mine = (getattr(getattr(m, name), method) for m in (captum, ours))
    assert arguments(mine) == arguments(theirs)


def test_classes_have_a_common_base_and_their_names():
    for name in NAMES:
        kind = getattr(ours, name)
        assert issubclass(kind, TracInCPBase)
        assert issubclass(kind, DataInfluence)
        assert kind.get_name() == name


def test_results_have_captums_fields():
    assert KMostInfluentialResults._fields == ("indices", "influence_scores")
