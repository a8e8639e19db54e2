"""Docstrings of public names: what the reference makes of them, and whether they are true."""

import inspect
import re
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


def places_in_the_reference():
    """The full names that the reference's pages have a directive for, and modules taken whole."""
    named, whole = set(), set()
    for page in (SITE / "api").glob("*.rst"):
        text = page.read_text(encoding="utf-8")
        found = re.findall(r"^\.\. auto(\w+):: (\S+)((?:\n +:\S+:.*)*)", text, re.MULTILINE)
        for kind, name, options in found:
            if kind == "module" and ":no-members:" not in options:
                whole.add(name)
            else:
                named.add(name)
    return named, whole


def test_every_public_name_is_in_the_reference(site):
    _, public = site
    named, whole = places_in_the_reference()
    missing = [
        home
        for home in public.public_objects()
        if home not in named and home.rpartition(".")[0] not in whole
    ]
    assert not missing, "add a directive for each to a page in docs/api"


def test_the_reference_has_nothing_twice_and_nothing_that_is_gone(site):
    _, public = site
    named, _ = places_in_the_reference()
    gone = named - set(public.public_objects()) - set(public.MODULES)
    assert not gone, "document a name where it is at home (docs/public.py), and there alone"


def test_every_public_name_has_a_docstring(site):
    _, public = site
    bare = [
        home
        for home, value in public.public_objects().items()
        if (inspect.isclass(value) or inspect.isroutine(value)) and not inspect.getdoc(value)
    ]
    assert not bare


def test_every_package_that_users_import_from_is_in_the_reference(site):
    _, public = site
    inner = {
        "adapters",
        "check",
        "cli",
        "curvature",
        "demo",
        "engine",
        "files",
        "linalg",
        "replay",
        "version",
        "__main__",
    }
    found = {
        path.stem if path.is_file() else path.name
        for path in (ROOT / "src" / "headwater").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    known = {name.split(".")[1] for name in public.MODULES if "." in name}
    assert found - known - inner - {"__init__"} == set(), "docs/public.py lists the public ones"


def test_every_documented_argument_is_one(site):
    docstrings, public = site
    wrong = []
    for home, value in documented(public):
        sections = docstrings.sections(inspect.cleandoc(value.__doc__ or ""))
        known = parameters(value) if "Args" in sections else set()
        for names, _ in docstrings.entries(sections.get("Args", [])):
            wrong += [f"{home}: {name}" for name in names if name.lstrip("*") not in known]
    assert not wrong


def test_a_docstring_becomes_prose_code_and_lists(site):
    docstrings, _ = site
    lines = [
        "The `B`s of 2 * 3 |x|, see `Held`.",
        "",
        "    a = sum over c of <x, y> * z",
        "",
        "Args:",
        "    one, two: for",
        "        both; see docs/scores.md.",
        "Raises:",
        "    Held: never.",
        "Source: somebody (2020).",
    ]
    assert "\n".join(docstrings.as_rst(lines, {"Held": "headwater.results.Held"})) == "\n".join(
        [
            "The ``B``\\ s of 2 \\* 3 \\|x\\|, see :py:obj:`Held <headwater.results.Held>`.",
            "",
            ".. code-block:: text",
            "",
            "    a = sum over c of <x, y> * z",
            "",
            ":Args:",
            "    - **one**, **two**: for both; see :doc:`/scores`.",
            "",
            ":Raises:",
            "    - :py:obj:`Held <headwater.results.Held>`: never.",
            "",
            ":Source:",
            "    somebody (2020).",
            "",
            "",
        ]
    )


def test_an_entry_that_names_nothing_is_an_error(site):
    docstrings, _ = site
    with pytest.raises(ValueError, match="expected `name: meaning`, got 'no colon'"):
        docstrings.entries(["no colon"])
