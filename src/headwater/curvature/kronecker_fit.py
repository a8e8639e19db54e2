"""Two passes over training data: factors of every linear map, then eigenvalues in their basis."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import torch

from headwater.capture import PlanChanged
from headwater.curvature.kronecker import Kronecker
from headwater.curvature.moments import KroneckerMoments, squared_sum
from headwater.curvature.spectrum import DiagonalSpectrum, KroneckerSpectrum, Spectrum
from headwater.forms import Convolved, Factored, Gradients
from headwater.linalg import widest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headwater.curvature.training_pass import TrainingPass
    from headwater.forms.gradients import Block
    from headwater.tasks import Task

Spectra: TypeAlias = "dict[Block, Spectrum]"


class _OtherKind(Exception):
    """A block's gradients changed their form from one batch to another."""


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
        while found is None:
            # Begun anew where a layer turns out to be captured in another way.
            with suppress(PlanChanged, _OtherKind):
                found = self._once()
        return found

    def _once(self) -> Spectra:
        first = _FirstPass(self)
        examples = self._pass(first.add, "factors")
        spectra = first.spectra(examples, corrected=self.corrected)
        if self.corrected:
            second = _SecondPass(spectra)
            if first.kept is None:
                self._pass(second.add, "eigenvalues")
            else:
                for gradients in first.kept:
                    second.add(gradients)
            spectra = second.spectra(examples)
        return spectra

    def _pass(self, use: Callable[[Gradients], None], stage: str) -> int:
        return sum(self.training.gradients(task, use, stage=stage) for task in self.tasks)

    def kind_of(self, block: Block, gradients: Gradients) -> Kronecker | None:
        """The linear map that the block is treated as; None for its diagonal."""
        kind = Kronecker.of(gradients.forms[block])
        if kind is None or block in self._diagonal:
            return None
        return kind if max(kind.columns, kind.fan_out) <= self.largest_factor else None

    def only_diagonal(self, block: Block) -> _OtherKind:
        """Treats a block by its diagonal from now on; returns what to raise."""
        self._diagonal.add(block)
        return _OtherKind()


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

    def spectra(self, examples: int, *, corrected: bool) -> Spectra:
        dtype = self._like.dtype
        spectra: Spectra = {
            block: DiagonalSpectrum((squares / max(1, examples)).to(dtype))
            for block, squares in self._squares.items()
        }
        for block, moments in self._factors.items():
            inputs, output_grads = moments.factors(examples)
            by_input, input_vectors = _eigen(inputs)
            by_output, output_vectors = _eigen(output_grads)
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

    def spectra(self, examples: int) -> Spectra:
        found = dict(self._spectra)
        for block, sums in self._sums.items():
            spectrum = found[block]
            assert isinstance(spectrum, KroneckerSpectrum)
            found[block] = KroneckerSpectrum(
                spectrum.kind,
                spectrum.by_input,
                spectrum.by_output,
                (sums / max(1, examples)).to(spectrum.eigenvalues.dtype),
            )
        return found


def _wide(sums: torch.Tensor) -> torch.Tensor:
    return sums.to(widest(sums.device))


def _eigen(matrices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Eigenvalues, none below zero, and eigenvectors of symmetric matrices."""
    values, vectors = torch.linalg.eigh(matrices)
    # A second moment has none below zero; rounding has.
    return values.clamp(min=0), vectors
