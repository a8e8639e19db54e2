"""Docstrings of public names: what the reference makes of them, and whether they are true."""

import inspect
import runpy
import sys

import pytest

from tests.docs.documents import ROOT

SITE = ROOT / "docs"


@pytest.fixture(scope="module")
def site():
    """The modules that the documentation is built by."""
    pytest.importorskip("transformers")
    pytest.importorskip("pytorch_lightning")
    sys.path.insert(0, str(SITE))
    try:
        import docstrings
        import public
    finally:
        sys.path.remove(str(SITE))
    return docstrings, public


def documented(public):
    """Every public object, and the public methods of its own, by full name."""
    for home, value in public.public_objects().items():
        yield home, value
        if inspect.isclass(value):
            for name, member in vars(value).items():
                function = getattr(member, "__func__", member)
                if not name.startswith("_") and inspect.isfunction(function):
                    yield f"{home}.{name}", function


def parameters(value):
    function = value.__init__ if inspect.isclass(value) else value
    fields = getattr(value, "__dataclass_fields__", {})
    return {*inspect.signature(function).parameters, *fields}


def test_every_documented_argument_is_one(site):
    docstrings, public = site
    wrong = []
    for home, value in documented(public):
        sections = docstrings.sections(inspect.cleandoc(value.__doc__ or ""))
        known = parameters(value) if "Args" in sections else set()
        for names, _ in docstrings.entries(sections.get("Args", [])):
            wrong += [f"{home}: {name}" for name in names if name.lstrip("*") not in known]
    assert not wrong
