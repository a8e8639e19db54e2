"""Two passes over training data: factors of every linear map, then eigenvalues in their basis."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from headwater.capture import PlanChanged
from headwater.curvature.kronecker import Kronecker
from headwater.curvature.merged import Merged
from headwater.curvature.moments import KroneckerMoments, squared_sum
from headwater.curvature.spectrum import DiagonalSpectrum, KroneckerSpectrum, Spectrum
from headwater.curvature.training_pass import OtherKind
from headwater.distributed import StartAnew, present
from headwater.forms import Convolved, Factored, Gradients
from headwater.linalg import widest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headwater.curvature.training_pass import TrainingPass
    from headwater.distributed import Ranks
    from headwater.forms.gradients import Block
    from headwater.tasks import Task

Spectra: TypeAlias = "dict[Block, Spectrum]"


@dataclass
class KroneckerFit:
    """The curvature of every block, by Kronecker factors where it is a linear map.

    A block is the weight of a layer with its bias, or a parameter that several layers share. What
    isn't a linear map (embeddings, normalisations, parameters without a rule, a table that is
    tied to an output head) has its diagonal.

    Args:
        training: model and data.
        tasks: whose gradients' second moments the curvature is, all together.
        corrected: whether eigenvalues are measured in the factors' eigenbasis, in a second pass, or
            are the products of the factors' eigenvalues.
        largest_factor: linear maps with more inputs or outputs than that have their diagonal.
    """

    training: TrainingPass
    tasks: Sequence[Task]
    corrected: bool
    largest_factor: int
    _diagonal: set[Block] = field(default_factory=set)

    def spectra(self) -> Spectra:
        """The blocks' spectra."""
        found: Spectra | None = None
        ranks = present()
        if ranks is not None:
            ranks.meet(self._facts())
        while found is None:
            # Begun anew where a layer turns out to be captured in another way.
            with suppress(PlanChanged, OtherKind, StartAnew):
                found = self._once(ranks)
        return found

    def _facts(self) -> dict[str, Any]:
        """What has to be the same on every rank."""
        return {
            "the estimator": self.training.name,
            "what is computed": "EK-FAC" if self.corrected else "K-FAC",
            "the draws": [getattr(task, "seed", None) for task in self.tasks],
            "the number of training examples": self.training.data.count,
            "the number of checkpoints": self.training.series.count,
            "the selected parameters": self.training.selection,
        }

    def _once(self, ranks: Ranks | None) -> Spectra:
        merged = Merged(ranks)
        first = _FirstPass(self)
        examples = merged.count(self._pass(first.add, "factors", ranks))
        if ranks is not None:
            if not self.training.same_plan(ranks):
                raise StartAnew
            first.merge(merged)
        spectra = first.spectra(examples, merged, corrected=self.corrected)
        if self.corrected:
            second = _SecondPass(spectra)
            if first.kept is None:
                self._pass(second.add, "eigenvalues", ranks)
            else:
                for gradients in first.kept:
                    second.add(gradients)
            spectra = second.spectra(examples, merged)
        return spectra

    def _pass(self, use: Callable[[Gradients], None], stage: str, ranks: Ranks | None) -> int:
        return sum(
            self.training.gradients(task, use, stage=stage, ranks=ranks) for task in self.tasks
        )

    def kind_of(self, block: Block, gradients: Gradients) -> Kronecker | None:
        """The linear map that the block is treated as; None for its diagonal."""
        kind = Kronecker.of(gradients.forms[block])
        if kind is None or block in self._diagonal:
            return None
        return kind if max(kind.columns, kind.fan_out) <= self.largest_factor else None

    def only_diagonal(self, block: Block) -> OtherKind:
        """Treats a block by its diagonal from now on; returns what to raise."""
        self._diagonal.add(block)
        return OtherKind()


class _FirstPass:
    def __init__(self, fit: KroneckerFit) -> None:
        self._fit = fit
        self._factors: dict[Block, KroneckerMoments] = {}
        self._squares: dict[Block, torch.Tensor] = {}
        self._like = torch.empty(0)
        # Captured a second time only where there isn't room to keep them.
        self.kept: list[Gradients] | None = [] if fit.corrected else None
        self._room = fit.training.budget // 2

    def add(self, gradients: Gradients) -> None:
        self._like = gradients.like
        for block, form in gradients.forms.items():
            kind = self._fit.kind_of(block, gradients)
            known = self._factors.get(block)
            seen = known is not None or block in self._squares
            if seen and kind != (None if known is None else known.kind):
                raise self._fit.only_diagonal(block)
            if kind is None:
                squares = _wide(squared_sum(form))
                if block in self._squares:
                    squares += self._squares[block]
                self._squares[block] = squares
                continue
            assert isinstance(form, (Factored, Convolved))
            if known is None:
                known = self._factors[block] = KroneckerMoments(kind, gradients.like)
            known.add(form)
        if self.kept is not None:
            self._room -= gradients.nbytes
            if self._room < 0:
                self.kept = None
            else:
                self.kept.append(gradients)

    def merge(self, merged: Merged) -> None:
        """Adds up what all ranks have added up.

        Raises:
            OtherKind: of some blocks, they aren't of one kind; so it is on every rank.
        """
        dtype, kinds, odd = merged.kinds(
            self._like.dtype,
            {
                **{block: moments.kind for block, moments in self._factors.items()},
                **{block: len(squares) for block, squares in self._squares.items()},
            },
        )
        if odd:
            raise [self._fit.only_diagonal(block) for block in odd][-1]
        self._like = self._like.to(dtype)
        factors, squares = {}, {}
        for block, kind in kinds.items():
            # A block of which no batch of this rank has gradients adds nothing.
            if isinstance(kind, Kronecker):
                moments = self._factors.get(block) or KroneckerMoments(kind, self._empty())
                moments.merge(merged.summed)
                factors[block] = moments
            else:
                own = self._squares.get(block)
                wide = _wide(self._empty().new_zeros(kind)) if own is None else own
                squares[block] = merged.summed(wide)
        self._factors, self._squares = factors, squares
        if not merged.all(self.kept is not None):
            self.kept = None

    def _empty(self) -> torch.Tensor:
        device = next(self._fit.training.net.parameters()).device
        return torch.empty(0, dtype=self._like.dtype, device=device)

    def spectra(self, examples: int, merged: Merged, *, corrected: bool) -> Spectra:
        dtype = self._like.dtype
        spectra: Spectra = {
            block: DiagonalSpectrum((squares / max(1, examples)).to(dtype))
            for block, squares in self._squares.items()
        }
        decomposed = merged.shared_out(
            [partial(_decomposed, moments, examples) for moments in self._factors.values()],
            [moments.like_decomposed() for moments in self._factors.values()],
        )
        for (block, moments), parts in zip(self._factors.items(), decomposed, strict=True):
            by_input, input_vectors, by_output, output_vectors = parts
            eigenvalues = by_output[:, :, None] * by_input[:, None, :]
            spectra[block] = KroneckerSpectrum(
                moments.kind,
                input_vectors.to(dtype),
                output_vectors.to(dtype),
                torch.zeros_like(eigenvalues, dtype=dtype) if corrected else eigenvalues.to(dtype),
            )
        return spectra


class _SecondPass:
    def __init__(self, spectra: Spectra) -> None:
        self._spectra = spectra
        self._sums: dict[Block, torch.Tensor] = {}

    def add(self, gradients: Gradients) -> None:
        for block, form in gradients.forms.items():
            spectrum = self._spectra[block]
            if not isinstance(spectrum, KroneckerSpectrum):
                continue
            assert isinstance(form, (Factored, Convolved))
            squares = _wide(spectrum.squared_sum(form))
            if block in self._sums:
                squares += self._sums[block]
            self._sums[block] = squares

    def spectra(self, examples: int, merged: Merged) -> Spectra:
        found = dict(self._spectra)
        for block, spectrum in self._spectra.items():
            if not isinstance(spectrum, KroneckerSpectrum):
                continue
            sums = self._sums.get(block)
            if sums is None:
                sums = _wide(torch.zeros_like(spectrum.eigenvalues))
            sums = merged.summed(sums)
            found[block] = KroneckerSpectrum(
                spectrum.kind,
                spectrum.by_input,
                spectrum.by_output,
                (sums / max(1, examples)).to(spectrum.eigenvalues.dtype),
            )
        return found


def _wide(sums: torch.Tensor) -> torch.Tensor:
    return sums.to(widest(sums.device))


def _decomposed(moments: KroneckerMoments, examples: int) -> list[torch.Tensor]:
    """Eigenvalues and eigenvectors, of inputs and of gradients at outputs."""
    inputs, output_grads = moments.factors(examples)
    return [*_eigen(inputs), *_eigen(output_grads)]


def _eigen(matrices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Eigenvalues, none below zero, and eigenvectors of symmetric matrices."""
    values, vectors = torch.linalg.eigh(matrices)
    # A second moment has none below zero; rounding has.
    return values.clamp(min=0), vectors
