"""What a bank was built with, held against what it is asked to go on with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from headwater.errors import BankMismatchError
from headwater.evaluation.wording import in_words

if TYPE_CHECKING:
    from pathlib import Path

# Most are digests: that they differ says something, and their digits don't.
_IN_WORDS = {
    "training examples": "another number of training examples",
    "data": "other training data",
    "model": "another model",
    "initial weights": "other initial weights",
    "queries": "other queries",
}
_WITH_VALUES = ("training examples", "loss")
# Where the first differs, the second does by itself.
_IMPLIED = {"training examples": "data", "model": "initial weights"}


def refuse_mismatch(before: dict[str, Any], now: dict[str, Any], path: Path) -> None:
    """Raises an error that names all that differs.

    Args:
        before: what the bank in the folder says that it is of.
        now: the same of what is to be built.
        path: the folder.

    Raises:
        BankMismatchError: something differs.
    """
    differs = differences(before, now)
    if not differs:
        return
    said = [_said(name, there, came) for name, (there, came) in differs.items()]
    raise BankMismatchError(
        f"the bank at {path} was built with {in_words(said)}. Build into another folder, or give "
        f"what it was built with",
        differs=differs,
        path=path,
    )


def differences(before: dict[str, Any], now: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """What differs, by name: what is there, and what came; empty texts for what has no words."""
    # By way of JSON, in which a tuple is a list.
    now = json.loads(json.dumps(now))
    found: dict[str, tuple[str, str]] = {}
    for name, came in now["subsets"].items():
        _note(found, name, before["subsets"].get(name), came)
    for name, came in now["facts"].items():
        there = before["facts"].get(name)
        if there == came:
            continue
        if name == "training":
            _note_training(found, there, came)
        elif name == "queries":
            counts = str(before["queries"]), str(now["queries"])
            found[name] = counts if counts[0] != counts[1] else ("", "")
        elif name in _WITH_VALUES:
            _note(found, name, there, came)
        else:
            found[name] = ("", "")
    _note(found, "keep_models", before["keep_models"], now["keep_models"])
    for name, implied in _IMPLIED.items():
        if name in found:
            found.pop(implied, None)
    return found


def described(name: str) -> str:
    """What differs, in words, without the values."""
    return _IN_WORDS.get(name, f"another {name}")


def _note(found: dict[str, tuple[str, str]], name: str, there: Any, came: Any) -> None:
    if there != came:
        found[name] = (str(there), str(came))


def _note_training(found: dict[str, tuple[str, str]], there: Any, came: Any) -> None:
    """The fields of a recipe that differ; of functions, only that they do."""
    if isinstance(there, dict) and isinstance(came, dict):
        for field in {**there, **came}:
            _note(found, field, there.get(field), came.get(field))
    elif type(there) is type(came):
        found["train(dataset, seed)"] = ("", "")
    else:
        kinds = ["a recipe" if isinstance(one, dict) else "a function" for one in (there, came)]
        found["training"] = (kinds[0], kinds[1])


def _said(name: str, there: str, came: str) -> str:
    values = f" ({there} there, {came} now)" if there or came else ""
    return f"{described(name)}{values}"
