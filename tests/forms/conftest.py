"""Choices of algebra, made to come out one way or the other."""

from importlib import import_module

import pytest
import torch

from headwater.forms import cost
from headwater.forms import grouped as grouped_convolution


def force(monkeypatch: pytest.MonkeyPatch, name: str, answer: bool) -> None:
    """Make a choice of algebra come out one way, wherever it is asked for."""
    # `headwater.forms.dot` is the function; the module of that name is in the import system only.
    asking = [
        import_module(f"headwater.forms.{module}") for module in ("dot", "factored", "convolved")
    ]
    for module in [module for module in asking if hasattr(module, name)]:
        monkeypatch.setattr(module, name, lambda *_, **__: answer)


@pytest.fixture(params=["one piece, in windows", "many pieces, in bands", "as groups"])
def scratch(request, monkeypatch):
    many = request.param.startswith("many")
    force(monkeypatch, "bands_are_cheaper", many)
    if request.param == "as groups":
        force(monkeypatch, "groups_are_cheaper", True)
        monkeypatch.setattr(grouped_convolution, "_dtypes", lambda: {torch.float64})
    if many:
        monkeypatch.setattr(cost, "SCRATCH_BYTES", 8)
