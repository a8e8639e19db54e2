"""What examples look like to a person: images, texts, rows of numbers, or ids of tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from headwater.errors import InputError
from headwater.report.neighbours import image_vectors, row_vectors, text_vectors
from headwater.report.thumbnails import Levels, data_url, fitting_edge
from headwater.tasks.batch import leaves

if TYPE_CHECKING:
    from jaxtyping import Float

Kind = Literal["images", "text", "rows"]
KINDS = ("images", "text", "rows")
# More of a text than this is cut, and the page says so.
LONGEST_TEXT = 2000
# Pixels along an edge of what is compared to find near-duplicates.
_POOLED = 16
_CHANNELS = (1, 3, 4)


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
    """The inputs of some examples, kept in memory.

    Args:
        batches: as the model gets them.
        rows: the dataset's own rows where these are dicts, in which texts may be.
        texts: the examples' texts, where they are known.
        kind: what they are; None finds out.
        decode: makes a text of a list of ids of tokens.
        features: names of a row's numbers.

    Raises:
        InputError: the examples aren't what `kind` says.
    """

    def __init__(
        self,
        batches: Sequence[Any],
        *,
        rows: Sequence[Any] | None = None,
        texts: Sequence[str] | None = None,
        kind: Kind | None = None,
        decode: Any = None,
        features: Sequence[str] | None = None,
    ) -> None:
        found = [_first_tensor(batch) for batch in batches]
        parts = [one for one in found if one is not None]
        if texts is None and kind in (None, "text"):
            texts = _texts_in(rows) or _texts_of_tokens(parts, decode)
        if texts is None and len(parts) < len(found):
            raise InputError(
                "the examples hold no tensor that could be shown; pass their texts as the column "
                "'text' of examples"
            )
        self.kind: Kind = kind or ("text" if texts is not None else _kind_of(parts[0]))
        if self.kind == "text" and texts is None:
            raise InputError(
                "kind is 'text', and no texts are known: pass the column 'text' of examples, or "
                "decode=tokenizer.decode"
            )
        self.texts = None if texts is None else [str(text) for text in texts]
        self.features = None if features is None else [str(name) for name in features]
        self.images: list[Tensor] = []
        self.numbers: Float[Tensor, "N F"] | None = None
        if self.kind == "images":
            self.images = [_as_images(part) for part in parts]
        elif self.kind == "rows":
            self.numbers = torch.cat([part.reshape(len(part), -1).double() for part in parts])
            self._refuse_other_features(self.numbers.shape[1])

    def vectors(self) -> Float[Tensor, "N D"]:
        """What tells examples alike, for `near_duplicates`."""
        if self.texts is not None and self.kind == "text":
            return text_vectors(self.texts)
        if self.numbers is not None:
            return row_vectors(self.numbers.float())
        pooled = []
        for images in self.images:
            grey = images.float().mean(dim=1, keepdim=True)
            height, width = (min(_POOLED, size) for size in grey.shape[-2:])
            small = torch.nn.functional.adaptive_avg_pool2d(grey, (height, width))
            pooled.append(torch.nn.functional.interpolate(small, (_POOLED, _POOLED)).flatten(1))
        return image_vectors(torch.cat(pooled))

    def show(self, places: Sequence[int], *, levels: Levels | None, edge: int | None) -> Shown:
        """The examples in some places.

        Args:
            places: of the examples.
            levels: of images; None takes these examples' own.
            edge: of thumbnails, in pixels; None takes the longest at which these fit a page.
        """
        if self.kind == "text":
            assert self.texts is not None
            return Shown("text", [_cut(self.texts[place]) for place in places])
        if self.numbers is not None:
            rows = self.numbers[torch.tensor(places, dtype=torch.long)].tolist()
            return Shown("rows", [[_short(x) for x in row] for row in rows], self._names())
        every = [image for batch in self.images for image in batch]
        chosen = [every[place] for place in places]
        levels = self.levels() if levels is None else levels
        edge = fitting_edge(chosen, len(chosen), levels) if edge is None else edge
        return Shown("images", [data_url(one, levels, edge) for one in chosen])

    def edge(self, count: int) -> int | None:
        """The edge of thumbnails at which that many fit a page; None where there are no images."""
        if not self.images:
            return None
        return fitting_edge(
            [image for batch in self.images for image in batch], count, self.levels()
        )

    def levels(self) -> Levels:
        """What is black and what is white."""
        return Levels.of(self.images)

    def _names(self) -> list[str]:
        assert self.numbers is not None
        return self.features or [str(place) for place in range(self.numbers.shape[1])]

    def _refuse_other_features(self, count: int) -> None:
        if self.features is not None and len(self.features) != count:
            raise InputError(
                f"feature_names has {len(self.features)} entries for rows of {count} numbers"
            )


def _first_tensor(batch: Any) -> Tensor | None:
    if isinstance(batch, Mapping):
        named = [batch.get(name) for name in ("pixel_values", "input_ids", "inputs_embeds")]
        chosen = next((one for one in named if isinstance(one, Tensor)), None)
        if chosen is not None:
            return chosen.detach().cpu()
    elif isinstance(batch, (tuple, list)) and len(batch) > 1:
        batch = batch[:-1]
    found = (leaf for leaf in leaves(batch) if isinstance(leaf, Tensor) and leaf.dim() > 0)
    first = next(found, None)
    return None if first is None else first.detach().cpu()


def _kind_of(part: Tensor) -> Kind:
    if part.dim() == 4 and (part.shape[1] in _CHANNELS or part.shape[3] in _CHANNELS):
        return "images"
    if part.dim() == 3 and min(part.shape[1:]) > 4:
        return "images"
    return "rows"


def _as_images(part: Tensor) -> Tensor:
    if part.dim() == 2 and isqrt(part.shape[1]) ** 2 == part.shape[1]:
        edge = isqrt(part.shape[1])
        return part.reshape(len(part), 1, edge, edge)
    if part.dim() == 3:
        return part[:, None]
    if part.dim() == 4 and part.shape[1] in _CHANNELS:
        return part
    if part.dim() == 4 and part.shape[3] in _CHANNELS:
        return part.permute(0, 3, 1, 2)
    raise InputError(
        f"kind is 'images', and a batch of inputs has shape {tuple(part.shape)}; expected (B, H, "
        f"W), or 1, 3 or 4 channels before or after height and width, or squares as flat rows"
    )


def _texts_in(rows: Sequence[Any] | None) -> list[str] | None:
    """The texts in rows that are dicts: of the column "text", or of all that hold texts."""
    if not rows or not isinstance(rows[0], Mapping):
        return None
    names = [name for name, value in rows[0].items() if isinstance(value, str)]
    names = ["text"] if "text" in names else names
    if not names:
        return None
    return ["\n".join(str(row[name]) for name in names) for row in rows]


def _texts_of_tokens(parts: Sequence[Tensor], decode: Any) -> list[str] | None:
    whole = parts and not parts[0].is_floating_point() and parts[0].dtype != torch.uint8
    if not whole or parts[0].dim() != 2 or (decode is None and parts[0].dtype != torch.int64):
        return None
    rows = [row for part in parts for row in part.tolist()]
    return [str(decode(row)) if decode else " ".join(map(str, row)) for row in rows]


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]} …"


def _short(number: float) -> float:
    return float(f"{number:.4g}")
