"""What a report is asked to show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headwater.cleaning import Suspects
from headwater.errors import InputError
from headwater.report.contents import KINDS, Kind


@dataclass(frozen=True)
class Options:
    """See `Report` for what each is."""

    title: str | None = None
    kind: Kind | None = None
    class_names: Sequence[str] | None = None
    feature_names: Sequence[str] | None = None
    truth: str | Sequence[Any] | None = None
    source: str | None = None
    suspects: Suspects | None = None
    rankings: Mapping[str, Any] | None = None
    decode: Callable[[list[int]], str] | None = None
    k: int = 8
    traced: int = 300
    explained: int = 12
    max_examples: int = 5000

    def refuse_odd(self) -> None:
        """Raises InputError for a setting that can't be meant."""
        if self.kind is not None and self.kind not in KINDS:
            raise InputError(
                f"kind is {self.kind!r}; expected one of {', '.join(map(repr, KINDS))}, or None to "
                f"find out"
            )
        for name, least in (("k", 1), ("traced", 0), ("explained", 0), ("max_examples", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise InputError(f"{name} is {value!r}; expected an int of at least {least}")
        if self.suspects is not None and not isinstance(self.suspects, Suspects):
            raise InputError(
                f"suspects is a {type(self.suspects).__name__}; expected what "
                f"headwater.cleaning.suspects_of returns, or None to compute it"
            )
        if self.decode is not None and not callable(self.decode):
            raise InputError(
                f"decode is a {type(self.decode).__name__}; expected a function from a list of ids "
                f"of tokens to a text, such as tokenizer.decode"
            )
        if isinstance(self.class_names, str) or isinstance(self.feature_names, str):
            raise InputError("class_names and feature_names are lists of texts; a text was given")
