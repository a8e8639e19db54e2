"""What examples look like to a person: images, texts, rows of numbers, or ids of tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from headwater.errors import InputError
from headwater.report.inputs import (
    as_images,
    first_tensor,
    kind_of,
    pooled_image,
    pooled_row,
    texts_in,
    texts_of_tokens,
)
from headwater.report.neighbours import image_vectors, row_vectors, text_vectors
from headwater.report.thumbnails import Levels, data_url, fitting_edge

if TYPE_CHECKING:
    from jaxtyping import Float

Kind = Literal["images", "text", "rows"]
KINDS = ("images", "text", "rows")
# More of a text than the first is never shown; less, where many long ones wouldn't fit a page.
_LENGTHS = (2000, 1000, 500, 250, 120)
# Bytes of all texts, or all numbers, on a page.
_BUDGET = 8_000_000
_NUMBER = 8
_FEWEST = 8
# Examples that are read at a time to be shown.
_AT_ONCE = 256


@dataclass(frozen=True)
class Fit:
    """How much of each example fits a page; None where that isn't about its kind.

    Attributes:
        edge: the longest of thumbnails, in pixels.
        length: of texts, in characters.
        features: the number of a row's numbers.
    """

    edge: int | None = None
    length: int | None = None
    features: int | None = None


@dataclass(frozen=True)
class Shown:
    """Some examples as the page shows them.

    Attributes:
        kind: what they are.
        entries: URLs of images, texts, or rows of numbers.
        features: the names of a row's numbers.
    """

    kind: Kind
    entries: list[Any]
    features: list[str] | None = None


class Contents:
    """The inputs of some examples: what tells them alike is kept, the rest is read again.

    Args:
        batches: as the model gets them; gone through once.
        again: `(places) -> batches` of the examples in some places, in their order.
        rows: the dataset's own rows where these are dicts, in which texts may be.
        texts: the examples' texts, where they are known.
        kind: what they are; None finds out.
        decode: makes a text of a list of ids of tokens.
        features: names of a row's numbers.

    Attributes:
        kind: what they are.
        width: how many numbers a row has; 0 where examples are no rows.

    Raises:
        InputError: the examples aren't what `kind` says.
    """

    def __init__(
        self,
        batches: Iterable[Any],
        again: Callable[[Sequence[int]], Iterable[Any]],
        *,
        rows: Sequence[Any] | None = None,
        texts: Sequence[str] | None = None,
        kind: Kind | None = None,
        decode: Any = None,
        features: Sequence[str] | None = None,
    ) -> None:
        self._again = again
        self._features = None if features is None else [str(name) for name in features]
        self._vectors: list[Float[Tensor, "B D"]] = []
        self._found_levels: list[Levels] = []
        self.width = 0
        wants_texts = texts is None and kind in (None, "text")
        if wants_texts:
            texts = texts_in(rows)
        known: Kind | None = kind or ("text" if texts is not None else None)
        tokens: list[Tensor] = []
        for batch in batches:
            part = first_tensor(batch)
            if part is None:
                if texts is None:
                    raise InputError(
                        "the examples hold no tensor that could be shown; pass their texts as the "
                        "column 'text' of examples"
                    )
                continue
            if texts is None and wants_texts and texts_of_tokens(part, decode) is not None:
                tokens.append(part)
                continue
            known = known or kind_of(part)
            self._note(known, part)
        if tokens:
            texts = [text for part in tokens for text in texts_of_tokens(part, decode) or []]
            known = "text"
        if known == "text" and texts is None:
            raise InputError(
                "kind is 'text', and no texts are known: pass the column 'text' of examples, or "
                "decode=tokenizer.decode"
            )
        self.kind: Kind = known or "rows"
        self._texts = [str(text) for text in texts or []]

    def _note(self, kind: Kind, part: Tensor) -> None:
        if kind == "images":
            images = as_images(part)
            self._found_levels.append(Levels.of([images]))
            self._vectors.append(pooled_image(images))
        elif kind == "rows":
            flat = part.reshape(len(part), -1)
            self.width = flat.shape[1]
            if self._features is not None and len(self._features) != self.width:
                raise InputError(
                    f"feature_names has {len(self._features)} entries for rows of {self.width} "
                    f"numbers"
                )
            self._vectors.append(pooled_row(flat))

    def vectors(self) -> Float[Tensor, "N D"]:
        """What tells examples alike, for `near_duplicates`."""
        if self.kind == "text":
            return text_vectors(self._texts)
        together = torch.cat(self._vectors)
        return row_vectors(together) if self.kind == "rows" else image_vectors(together)

    @property
    def levels(self) -> Levels | None:
        """What is black and what is white in images."""
        return Levels.around(self._found_levels) if self._found_levels else None

    def fit(self, places: Sequence[int], *, others: int = 0) -> Fit:
        """How much of each example fits a page that shows these, and some others like them."""
        count = len(places) + others
        if self.kind == "rows":
            fitting = _BUDGET // (_NUMBER * max(1, count))
            return Fit(features=min(self.width, max(_FEWEST, fitting)))
        if self.kind == "text":
            sizes = [self._texts[place] for place in places]
            for length in _LENGTHS:
                if sum(len(text[:length].encode()) for text in sizes) <= _BUDGET:
                    return Fit(length=length)
            return Fit(length=_LENGTHS[-1])
        levels = self.levels
        assert levels is not None
        some = places[:: max(1, len(places) // 40)]
        return Fit(edge=fitting_edge(list(self._images(some)), count, levels))

    def show(self, places: Sequence[int], fit: Fit, levels: Levels | None = None) -> Shown:
        """The examples in some places.

        Args:
            places: of the examples.
            fit: how much of each.
            levels: of images; None takes these examples' own.
        """
        if self.kind == "text":
            assert fit.length is not None
            return Shown("text", [_cut(self._texts[place], fit.length) for place in places])
        if self.kind == "rows":
            names = (self._features or [str(n) for n in range(self.width)])[: fit.features]
            entries = [
                [_short(x) for x in row]
                for part in self._parts(places)
                for row in part.reshape(len(part), -1)[:, : fit.features].tolist()
            ]
            return Shown("rows", entries, names)
        levels = levels or self.levels
        assert levels is not None
        assert fit.edge is not None
        return Shown("images", [data_url(x, levels, fit.edge) for x in self._images(places)])

    def _parts(self, places: Sequence[int]) -> Iterator[Tensor]:
        for start in range(0, len(places), _AT_ONCE):
            for batch in self._again(places[start : start + _AT_ONCE]):
                part = first_tensor(batch)
                assert part is not None
                yield part

    def _images(self, places: Sequence[int]) -> Iterator[Tensor]:
        for part in self._parts(places):
            yield from as_images(part)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]} …"


def _short(number: float) -> float | None:
    return float(f"{number:.4g}") if abs(number) < float("inf") else None
