"""K-FAC and EK-FAC: curvature of a layer as a product of that of its inputs and its outputs."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from headwater.curvature.block_inverse import BlockInverse, Blocks
from headwater.curvature.classes_axis import refuse_other_axis
from headwater.curvature.curvature import Curvature
from headwater.curvature.damping import Damping, RelativeDamping, checked_damping
from headwater.curvature.factors_file import read_factors, refuse_place, write_factors
from headwater.curvature.find_likelihood import (
    LikelihoodName,
    find_likelihood,
    named_likelihood,
)
from headwater.curvature.kronecker_fit import KroneckerFit, Spectra
from headwater.curvature.likelihood import Categorical
from headwater.curvature.sampled_task import SampledTask
from headwater.distributed import present
from headwater.errors import CurvatureError
from headwater.tasks import ModelOutput

if TYPE_CHECKING:
    from headwater.curvature.training_pass import TrainingPass
    from headwater.tasks import Task


# How far the seeds of an example's draws are apart: farther than seeds that users would give.
_NEXT_DRAW = 2**32


@dataclass(frozen=True)
class KroneckerOptions:
    """What K-FAC and EK-FAC have in common.

    Attributes:
        damping: what is added to the eigenvalues: a share of each layer's mean, or a number.
        targets: whose gradients the factors are made of: those of labels drawn from the model,
            which estimates the Gauss-Newton matrix; or of the "true" labels, the empirical Fisher
            matrix, which works with every loss and is no curvature.
        likelihood: the distribution that labels are drawn from, where the loss is not one that
            says it by itself: "categorical" has its classes along axis 1 of the output,
            "categorical-last" along the last, "bernoulli" has logits, "gaussian" squared errors.
        draws: how many labels are drawn for each example; the fit takes so many times as long, and
            scores have less of the draws' noise.
        seed: of the draws.
        largest_factor: layers with more inputs or outputs than that have their diagonal alone.
        factors: a file that they are written to, and read from where it is there already. It fits
            one model, selection, loss and training data; the damping isn't in it. Of several
            processes the first one writes it; it is read where all of them see it.
    """

    _: KW_ONLY
    damping: Damping = field(default_factory=RelativeDamping)
    targets: Literal["sampled", "true"] = "sampled"
    likelihood: LikelihoodName | None = None
    draws: int = 1
    seed: int = 0
    largest_factor: int = 8192
    factors: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        checked_damping(self.damping)
        if self.targets not in ("sampled", "true"):
            raise CurvatureError(
                f"targets is {self.targets!r}; expected 'sampled' (labels drawn from the model) or "
                f"'true' (those of the training data)"
            )
        if not isinstance(self.draws, int) or isinstance(self.draws, bool) or self.draws < 1:
            raise CurvatureError(f"draws is {self.draws!r}; expected an int of at least 1")
        if self.likelihood is not None:
            named_likelihood(self.likelihood)

    def tasks(self, training: TrainingPass) -> list[Task]:
        """What is differentiated for the factors, one for each draw.

        Raises:
            CurvatureError: the loss isn't known, and the likelihood not said.
        """
        if self.targets == "true":
            return [training.task]
        if self.likelihood is not None:
            likelihood = named_likelihood(self.likelihood)
        else:
            found = find_likelihood(training.task, training.net)
            if found is None:
                raise unknown_likelihood(training.task)
            likelihood = found
        seeds = [self.seed + draw * _NEXT_DRAW for draw in range(self.draws)]
        return [SampledTask(training.task, likelihood, seed) for seed in seeds]

    def blocks(self, training: TrainingPass, *, corrected: bool) -> Blocks:
        """The curvature, block by block.

        Raises:
            FactorsMismatchError: the file of factors is of something else.
            FactorsCorruptError: it can't be read.
            CurvatureError: see `tasks`; or the likelihood has its classes along another axis than
                the loss.
        """
        tasks = self.tasks(training)

        def fitted() -> Spectra:
            self._refuse_other_axis(training)
            fit = KroneckerFit(
                training, tasks, corrected=corrected, largest_factor=self.largest_factor
            )
            return fit.spectra()

        if self.factors is None:
            return Blocks(fitted(), training.shapes)
        path = Path(self.factors)
        binding = {
            **training.binding(),
            "curvature": type(self).__name__,
            "targets": self.targets,
            "likelihood": self.likelihood,
            "draws": self.draws,
            "seed": self.seed,
            "largest_factor": self.largest_factor,
        }
        ranks = present()
        known = path.exists()
        if known if ranks is None else all(ranks.gathered_object(known)):
            device = next(training.net.parameters()).device
            return Blocks(read_factors(path, binding, device), training.shapes)
        # Before the work, not after it.
        refuse = partial(refuse_place, path)
        refuse() if ranks is None else ranks.by_the_first(refuse)
        spectra = fitted()
        if ranks is None:
            write_factors(path, spectra, binding)
        else:
            ranks.by_the_first(lambda: write_factors(path, spectra, binding))
        return Blocks(spectra, training.shapes)

    def _refuse_other_axis(self, training: TrainingPass) -> None:
        if self.targets == "true" or self.likelihood is None:
            return
        likelihood = named_likelihood(self.likelihood)
        if isinstance(likelihood, Categorical):
            with closing(training.again()) as batches:
                for batch in islice(batches, 1):
                    refuse_other_axis(likelihood.axis, training.task, training.net, batch)

    @property
    def words(self) -> str:
        """Where the factors came from."""
        if self.targets == "true":
            return "from gradients of the true labels (the empirical Fisher matrix)"
        times = "" if self.draws == 1 else f", {self.draws} times"
        return f"from gradients of labels drawn from the model{times} (seed {self.seed})"


def unknown_likelihood(task: Task) -> CurvatureError:
    """What to raise for a loss without a known likelihood."""
    if isinstance(task, ModelOutput):
        return CurvatureError(
            "curvature is that of the training loss, and there is neither a loss_fn nor a task; "
            "pass the loss that training minimised: loss_fn=, or task= for batches that are no "
            "tuples; for a model that returns its own loss, targets='true' of the curvature"
        )
    loss_fn: Callable[..., object] | None = getattr(task, "loss_fn", None)
    name = type(task).__name__
    if loss_fn is not None:
        name = getattr(loss_fn, "__name__", type(loss_fn).__name__)
    return CurvatureError(
        f"labels are drawn from the model, and {name} doesn't say from which distribution; make "
        f"the EKFAC or KFAC (of ASTRA: ASTRA(EKFAC(...))) with likelihood='categorical' (softmax "
        f"over axis 1 of the output), 'categorical-last' (over the last), 'bernoulli' (logits) or "
        f"'gaussian' (squared error), or with targets='true' for the empirical Fisher matrix"
    )


@dataclass(frozen=True)
class KFAC(KroneckerOptions, Curvature):
    """G = A x S by layer: second moments of inputs, times those of gradients at outputs.

    One pass over the training data. EKFAC is a better estimate at the price of part of a second.

    Source: Martens and Grosse (2015), arXiv 1503.05671; for several positions per example as in
    Eschenhagen et al. (2023), arXiv 2311.00636, "expand".
    """

    def fit(self, training: TrainingPass) -> BlockInverse:
        return BlockInverse(
            self.blocks(training, corrected=False), self.damping, f"K-FAC {self.words}"
        )


@dataclass(frozen=True)
class EKFAC(KroneckerOptions, Curvature):
    """K-FAC with eigenvalues measured in its eigenbasis.

        A = Q_A L_A Q_A^T,  S = Q_S L_S Q_S^T,  Lambda_ij = E[((Q_S^T dW Q_A)_ij)^2]
        (G + lam)^-1 V = Q_S [(Q_S^T V Q_A) / (Lambda + lam)] Q_A^T

    Source: George et al. (2018), arXiv 1806.03884; Grosse et al. (2023), arXiv 2308.03296.
    """

    def fit(self, training: TrainingPass) -> BlockInverse:
        return BlockInverse(
            self.blocks(training, corrected=True), self.damping, f"EK-FAC {self.words}"
        )
