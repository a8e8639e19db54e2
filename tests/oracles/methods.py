"""The other estimators as plain matrices of gradients, in float64; nothing of headwater in it.

Gradients are those of `tests.oracles.tracin`, a row per example, the parameters end to end. Random
projections are given as matrices.
"""

import math
import re
from collections.abc import Sequence

import torch
from torch import Tensor

Rows = Tensor  # [B, P]


def grad_dot(queries: Sequence[Rows], training: Sequence[Rows]) -> Tensor:
    """`[Q, N]`: by checkpoint the rows of queries and of training examples; the mean over them."""
    products = [q @ n.T for q, n in zip(queries, training, strict=True)]
    return sum(products) / len(products)


def cosine(left: Tensor, right: Tensor) -> Tensor:
    return torch.tensor(
        [[float(a @ b) / math.sqrt(float(a @ a) * float(b @ b)) for b in right] for a in left],
        dtype=torch.float64,
    )


def grad_cos(queries: Sequence[Rows], training: Sequence[Rows]) -> Tensor:
    cosines = [cosine(q, n) for q, n in zip(queries, training, strict=True)]
    return sum(cosines) / len(cosines)


def inverse(gram: Tensor, damping: float | str, examples: int) -> Tensor:
    """Of a Gram matrix; "auto" damps by 0.1 of the mean of its largest eigenvalues.

    As many of them as there are examples: the rest is 0.
    """
    largest = torch.linalg.eigvalsh(gram).flip(0)[:examples]
    amount = 0.1 * float(largest.mean()) if damping == "auto" else damping
    return torch.linalg.inv(gram + amount * torch.eye(len(gram), dtype=torch.float64))


def trak(
    queries: Sequence[Rows],
    training: Sequence[Rows],
    right: Sequence[Tensor],
    matrices: Sequence[Tensor],
    damping: float | str,
) -> Tensor:
    """`[Q, N]`, from gradients of log-odds.

    Args:
        right: by checkpoint, the probability of each training example's right answer.
        matrices: by checkpoint, the projection `[D, P]`.
    """
    products, credits = [], []
    for q, n, p, matrix in zip(queries, training, right, matrices, strict=True):
        phi_q, phi_n = q @ matrix.T, n @ matrix.T
        products.append(phi_q @ inverse(phi_n.T @ phi_n, damping, len(n)) @ phi_n.T)
        credits.append(1 - p)
    return sum(products) / len(products) * (sum(credits) / len(credits))


def logra(
    queries: Sequence[Rows],
    training: Sequence[Rows],
    sides: Sequence[tuple[int, int, Tensor, Tensor]],
    damping: float | str,
) -> Tensor:
    """`[Q, N]`, with per parameter its rows O and columns I, and the maps `[K, O]` and `[L, I]`."""
    total = 0
    for q, n in zip(queries, training, strict=True):
        start = 0
        for rows, columns, left, right in sides:
            part = slice(start, start + rows * columns)
            start += rows * columns
            small_q, small_n = (
                torch.stack([(left @ row.reshape(rows, columns) @ right.T).flatten() for row in g])
                for g in (q[:, part], n[:, part])
            )
            gram = small_n.T @ small_n / len(small_n)
            if bool(gram.any()):
                total = total + small_q @ inverse(gram, damping, len(n)) @ small_n.T
    return total / len(queries)


class Adam:
    """Adam of one parameter, by the formulas of Kingma and Ba (2015)."""

    def __init__(self, rate: float, beta1: float, beta2: float, eps: float) -> None:
        self.rate, self.beta1, self.beta2, self.eps = rate, beta1, beta2, eps
        self.t = 0
        self.m: Tensor | float = 0.0
        self.v: Tensor | float = 0.0

    def direction(self, gradient: Tensor) -> Tensor:
        """What the coming step would be for this gradient, rate left out."""
        t = self.t + 1
        m = self.beta1 * self.m + (1 - self.beta1) * gradient
        v = self.beta2 * self.v + (1 - self.beta2) * gradient**2
        return (m / (1 - self.beta1**t)) / ((v / (1 - self.beta2**t)).sqrt() + self.eps)

    def derivative(self, gradient: Tensor) -> Tensor:
        """Of the coming step, by autograd; 0 where nothing has moved yet."""
        g = gradient.clone().requires_grad_()
        (found,) = torch.autograd.grad((self.rate * self.direction(g)).sum(), g)
        still = (gradient == 0) & (torch.as_tensor(self.v) == 0)
        return torch.where(still, torch.zeros_like(found), found)

    def take(self, gradient: Tensor) -> None:
        """Remembers a gradient, as a step does."""
        self.t += 1
        self.m = self.beta1 * self.m + (1 - self.beta1) * gradient
        self.v = self.beta2 * self.v + (1 - self.beta2) * gradient**2


def bm25(query: str, texts: Sequence[str], k1: float, b: float) -> list[float]:
    split = [re.findall(r"\w+", text.lower()) for text in texts]
    mean = sum(map(len, split)) / len(split)
    scores = []
    for words in split:
        score = 0.0
        for term in re.findall(r"\w+", query.lower()):
            having = sum(term in other for other in split)
            idf = math.log(1 + (len(split) - having + 0.5) / (having + 0.5))
            f = words.count(term)
            score += idf * f * (k1 + 1) / (f + k1 * (1 - b + b * len(words) / mean))
        scores.append(score)
    return scores
