"""The inverse of a curvature that is known block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from headwater.curvature.curvature import Inverse
from headwater.curvature.damping import Damping, amount, inverted, reason
from headwater.forms import Gradients, Materialised

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float
    from torch import Tensor

    from headwater.curvature.spectrum import Spectrum
    from headwater.forms import Form
    from headwater.forms.gradients import Block


class Blocks:
    """The blocks that curvature is known of, and gradients cut into them.

    Args:
        spectra: by block.
        shapes: the shape of every selected parameter.
    """

    def __init__(self, spectra: Mapping[Block, Spectrum], shapes: Mapping[str, torch.Size]) -> None:
        self.spectra = dict(spectra)
        self._shapes = shapes
        self._block_of = {name: block for block in spectra for name in block}

    @property
    def numbers(self) -> int:
        """The length of a gradient over all blocks."""
        return sum(self._shapes[name].numel() for name in self._block_of)

    def aligned(self, gradients: Gradients, checkpoint: int = 0) -> Gradients:
        """The gradients in these blocks; those of a parameter in none are left out.

        A model is captured in the same blocks every time, but for layers that are found not to fit
        their rule in one pass and do in another.
        """
        if all(block in self.spectra for block in gradients.forms):
            return gradients
        forms: dict[Block, Form] = {}
        pieces: dict[str, Tensor] = {}
        for block, form in gradients.forms.items():
            if block in self.spectra:
                forms[block] = form
                continue
            parts = form.split([self._shapes[name].numel() for name in block])
            for name, part in zip(block, parts, strict=True):
                pieces[name] = part.materialise()
        for block in dict.fromkeys(self._block_of[n] for n in pieces if n in self._block_of):
            columns = [
                pieces[name]
                if name in pieces
                else gradients.like.new_zeros(gradients.batch_size, self._shapes[name].numel())
                for name in block
            ]
            forms[block] = Materialised(torch.cat(columns, dim=1))
        return Gradients(forms, gradients.batch_size, gradients.like)

    def apply(self, gradients: Gradients, values: Mapping[Block, Tensor]) -> Gradients:
        """Every gradient times a function of the curvature, by its values; see `Spectrum`."""
        forms: dict[Block, Form] = {
            block: Materialised(self.spectra[block].apply(form, values[block]))
            for block, form in gradients.forms.items()
        }
        return Gradients(forms, gradients.batch_size, gradients.like)


class BlockInverse(Inverse):
    """(G + damping)^-1 for a block-diagonal G.

    Args:
        blocks: G.
        damping: what is added to eigenvalues.
        words: how G was estimated.
    """

    def __init__(self, blocks: Blocks, damping: Damping, words: str) -> None:
        self.blocks = blocks
        self._words = words
        self._damping = damping
        self.added = {
            block: amount(damping, spectrum.mean) for block, spectrum in blocks.spectra.items()
        }
        self._values = {
            block: inverted(spectrum.eigenvalues, self.added[block], name=" + ".join(block))
            for block, spectrum in blocks.spectra.items()
        }

    @property
    def numbers(self) -> int:
        return self.blocks.numbers

    def aligned(self, gradients: Gradients, checkpoint: int) -> Gradients:
        return self.blocks.aligned(gradients, checkpoint)

    def solve(self, gradients: Gradients) -> Gradients:
        return self.blocks.apply(gradients, self._values)

    def quadratic(self, gradients: Gradients) -> Float[Tensor, " B"]:
        total = gradients.like.new_zeros(gradients.batch_size)
        for block, form in gradients.forms.items():
            total += self.blocks.spectra[block].quadratic(form, self._values[block])
        return total

    @property
    def description(self) -> str:
        lines = [self._words, f"damping: {reason(self._damping, 'each layer')}"]
        for block, spectrum in self.blocks.spectra.items():
            lines.append(
                f"{' + '.join(block)}: {spectrum.words}, mean eigenvalue {spectrum.mean:.3g}, "
                f"damping {self.added[block]:.3g}"
            )
        return "\n".join(lines)
