"""BM25: which training texts share words with a query; the baseline for texts."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from headwater.errors import InputError
from headwater.estimators.baselines.without_model import WithoutModel
from headwater.results import Wording

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

_WORD = re.compile(r"\w+")


class BM25(WithoutModel):
    """Okapi BM25 of a query with each training text, from their words alone.

        influence(q, n) = sum over words t of q of
            idf(t) * f(t, n) (k1 + 1) / (f(t, n) + k1 (1 - b + b * |n| / mean length)),
        idf(t) = log(1 + (N - N_t + 1/2) / (N_t + 1/2))

    f(t, n) is how often t is in n, and N_t in how many texts it is; a word that is in the query
    twice counts twice. No model has a part in it. There is no self-influence: a text's score with
    itself says how long and rare its words are.

    Args:
        texts: the training texts, in the order of the training data.
        k1: how soon a repeated word stops counting.
        b: how much long texts are discounted, from 0 to 1.
        words: from a text to its words; None takes runs of letters and digits, in lower case.

    Raises:
        InputError: `texts` isn't a list of texts, or `k1` or `b` is out of range.

    Source: Robertson and Zaragoza (2009), "The probabilistic relevance framework: BM25 and beyond",
        section 3.5. Differs: 1 is added in the idf, as in Lucene, so that none is negative.
    """

    _wording = Wording(
        formula="influence(q, n) = BM25 of the words of q in n",
        unit="none",
        sign="never negative; high for texts that share rare words with the query",
    )
    _no_self_influence = "a text's score with itself says how long and rare its words are"

    def __init__(
        self,
        texts: Sequence[str],
        *,
        k1: float = 1.5,
        b: float = 0.75,
        words: Callable[[str], Sequence[str]] | None = None,
    ) -> None:
        if not k1 >= 0 or not 0 <= b <= 1:
            raise InputError(f"k1 is {k1!r} and b is {b!r}; expected k1 >= 0 and 0 <= b <= 1")
        self._words = _lower_case_words if words is None else words
        self._known = _texts(texts, "texts")
        self._postings = _postings([Counter(self._words(text)) for text in self._known], k1, b)

    def _matrix(self, inputs: Any) -> Float[Tensor, "Q N"]:
        queries = _texts([inputs] if isinstance(inputs, str) else inputs, "inputs")
        scores = torch.zeros(len(queries), len(self._known))
        for row, query in zip(scores, queries, strict=True):
            for word, times in Counter(self._words(query)).items():
                if word in self._postings:
                    places, weights = self._postings[word]
                    row[places] += times * weights
        return scores


def _postings(
    counts: Sequence[Counter[str]], k1: float, b: float
) -> dict[str, tuple[Int[Tensor, " M"], Float[Tensor, " M"]]]:
    """By word, the texts that it is in, and what it adds to the score of each."""
    lengths = [sum(each.values()) for each in counts]
    mean = sum(lengths) / max(1, len(lengths))
    found: dict[str, list[tuple[int, float]]] = {}
    for place, (each, length) in enumerate(zip(counts, lengths, strict=True)):
        for word, times in each.items():
            share = times * (k1 + 1) / (times + k1 * (1 - b + b * length / mean))
            found.setdefault(word, []).append((place, share))
    postings = {}
    for word, entries in found.items():
        idf = math.log1p((len(counts) - len(entries) + 0.5) / (len(entries) + 0.5))
        places, shares = zip(*entries, strict=True)
        postings[word] = (torch.tensor(places), idf * torch.tensor(shares))
    return postings


def _lower_case_words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _texts(texts: Any, name: str) -> list[str]:
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise InputError(f"{name} is a {type(texts).__name__}; expected a list of texts")
    odd = next((one for one in texts if not isinstance(one, str)), None)
    if odd is not None or not len(texts):
        what = "empty" if odd is None else f"a list with a {type(odd).__name__} in it"
        raise InputError(f"{name} is {what}; expected a list of texts")
    return list(texts)
