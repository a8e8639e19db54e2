"""What estimators without a model have in common: their questions."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from headwater.errors import InputError
from headwater.estimators.data_influence import DataInfluence
from headwater.estimators.misplaced import refuse_odd_k
from headwater.estimators.results import KMostInfluentialResults
from headwater.results import Held, Meaning, Names, Scores, Wording

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float
    from torch import Tensor


class WithoutModel(DataInfluence):
    """An estimator that knows the training examples and no model.

    A subclass makes the scores in `_matrix`, and says in `_no_self_influence` why there is no
    self-influence, if there is none.
    """

    _wording: Wording
    _no_self_influence: str | None = None

    def influence(  # type: ignore[override]
        self,
        inputs: Any = None,
        targets: Any = None,
        k: int | None = None,
        proponents: bool = True,
        unpack_inputs: bool = True,
        show_progress: bool = False,
    ) -> Tensor | KMostInfluentialResults:
        """All scores, or each query's k highest or lowest, as those of `TracInCP.influence`.

        Args:
            inputs: the queries; None asks for self-influence.
            k: how many training examples to return per query; None returns all scores.
            proponents: whether the k are the highest scores or the lowest.
            targets, unpack_inputs, show_progress: not used; there for what calls all estimators
                alike.

        Raises:
            InputError: k is no int of at least 0, or there is no self-influence.
        """
        refuse_odd_k(k)
        self._refuse_self_influence(inputs)
        scores = self._matrix(inputs)
        if inputs is None:
            return scores[0]
        if k is None:
            return scores
        return KMostInfluentialResults.among(scores, k=k, proponents=proponents)

    def attribute(
        self,
        inputs: Any = None,
        targets: Any = None,
        *,
        examples: Mapping[str, Any] | None = None,
        queries: Mapping[str, Any] | None = None,
    ) -> Scores:
        """The scores of `influence` as `Scores`, computed now; arguments as for `TracInCP`'s."""
        self._refuse_self_influence(inputs)
        scores = self._matrix(inputs)
        return Scores(
            Held(scores),
            Meaning(
                "self_influence" if inputs is None else "influence",
                "loss",
                {"name": self.get_name(), "examples": scores.shape[1]},
                wording=self._wording,
            ),
            queries=Names("query", queries or {}, 0 if inputs is None else len(scores)),
            examples=Names("training example", examples or {}, scores.shape[1], indexed=True),
        )

    @abstractmethod
    def _matrix(self, inputs: Any) -> Float[Tensor, "Q N"]:
        """All scores; of self-influence, where inputs is None, one row."""

    def _refuse_self_influence(self, inputs: Any) -> None:
        if inputs is None and self._no_self_influence is not None:
            raise InputError(f"{self.get_name()} has no self-influence: {self._no_self_influence}")
