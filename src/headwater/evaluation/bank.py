"""A bank of retrained models: made once, on disk, and asked by every method that is judged."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm.auto import tqdm

from headwater.errors import (
    BankError,
    BankIncompleteError,
    BankWriteError,
    InputError,
    NonFiniteError,
)
from headwater.evaluation.bank_files import BankFiles
from headwater.evaluation.bank_mismatch import refuse_mismatch
from headwater.evaluation.in_memory import InMemory
from headwater.evaluation.subsets import Subsets

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from jaxtyping import Bool, Float
    from torch import Tensor

    from headwater.evaluation.retraining import Retraining

_WEIGHTS = "weights."


class RetrainedBank:
    """What models that were trained on random subsets say of the queries.

    A bank is complete, or isn't opened: a mean over the subsets that happen to be there would be
    another measure.

    Attributes:
        path: the folder.
        subsets: how the subsets were drawn.
        membership: which training examples are in which subset, (M, N).
        facts: what it was made of: data, model, training, queries.
        deterministic: whether another seed would have ended in the same models.
    """

    def __init__(self, path: Path, told: dict[str, Any], measured: dict[str, Tensor]) -> None:
        self.path = path
        self.subsets = Subsets(**told["subsets"])
        self.facts: dict[str, Any] = told["facts"]
        self.deterministic: bool = told["deterministic"]
        self._told = told
        self._measured = measured
        self._count: int = told["facts"]["training examples"]

    @classmethod
    def build(
        cls,
        path: str | os.PathLike[str],
        retraining: Retraining,
        subsets: Subsets,
        queries: Any,
        *,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        keep_models: bool = True,
        on_begin: Callable[[int, int], None] | None = None,
        show_progress: bool = False,
    ) -> RetrainedBank:
        """Trains the models that are missing, and opens the bank.

        The process may be killed at any moment: what was committed is there, and building again
        goes on behind it. A bank that is finished is opened as it is.

        Args:
            path: the folder; made if it doesn't exist.
            retraining: how a model is trained, and on what.
            subsets: which subsets, and how many models of each.
            queries: what is measured: a Dataset, or a batch.
            collate_fn: makes a batch of a list of queries; None takes that of `retraining`.
            keep_models: whether the models' weights are kept, so that other queries can be measured
                later: M * runs times the size of a model.
            on_begin: is called before the first model is trained, with how many are there already,
                and how many there will be.
            show_progress: whether a bar over the models is shown, on stderr.

        Raises:
            BankMismatchError: the bank in the folder is of something else; names what differs.
            BankLockedError: another process is building it.
            BankWriteError: the folder can't be written to, or has other files in it.
            NonFiniteError: a model's loss isn't finite: its training diverged.
        """
        files = BankFiles(Path(path))
        asked = InMemory(queries, collate_fn or retraining.collate_fn, name="queries")
        plan = subsets.plan(retraining.count)
        told: dict[str, Any] = {
            "subsets": subsets.facts(),
            "deterministic": retraining.deterministic,
            "queries": asked.count,
            "keep_models": keep_models,
            "queries are whole": asked.is_whole,
            "facts": {**retraining.facts(), "queries": asked.fingerprint()},
        }
        if retraining.deterministic and subsets.runs > 1:
            raise InputError(
                f"runs is {subsets.runs}, and this training ends in the same model whatever the "
                f"seed: expected runs=1"
            )
        if not files.exists() and files.strangers():
            raise BankWriteError(
                f"{path} has other files in it ({', '.join(sorted(files.strangers())[:3])}); a "
                f"bank needs a folder of its own"
            )
        with files.writing():
            if files.exists():
                before = files.read()
                refuse_mismatch(before, told, Path(path))
                told = before
            else:
                told["part_size"] = min(max(1, retraining.at_once), len(plan))
                files.begin(told)
            parts = _parts(len(plan), told["part_size"])
            binding = _binding(told)
            if on_begin is not None:
                on_begin(*_finished(files, told))
            with tqdm(
                total=len(plan), desc="Retraining", unit="model", disable=not show_progress
            ) as bar:
                for number, part in enumerate(parts):
                    if not files.has_part(number):
                        runs = [plan[place] for place in part]
                        states = retraining.states(runs)
                        measured = retraining.measured(states, asked)
                        _refuse_diverged(measured, part, subsets)
                        weights = {f"{_WEIGHTS}{key}": state for key, state in states.items()}
                        files.write_part(
                            number, {**measured, **(weights if keep_models else {})}, binding
                        )
                    bar.update(len(part))
        return cls.open(path)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RetrainedBank:
        """The bank in a folder.

        Raises:
            BankNotFoundError: there is none.
            BankIncompleteError: its building was interrupted.
            BankCorruptError, BankVersionError: a file was changed, or is of another version.
        """
        files = BankFiles(Path(path))
        told = files.read()
        subsets = Subsets(**told["subsets"])
        have, models = _finished(files, told)
        parts = _parts(models, told["part_size"])
        if have < models:
            raise BankIncompleteError(
                f"the bank at {path} has {have} of {models} models: its building was interrupted. "
                f"RetrainedBank.build with the same arguments goes on; scores are judged by "
                f"complete banks only"
            )
        binding = _binding(told)
        pieces: dict[str, list[Tensor]] = {}
        for number in range(len(parts)):
            for name, tensor in files.part(number, binding).items():
                if not name.startswith(_WEIGHTS):
                    pieces.setdefault(name, []).append(tensor)
        return cls(
            Path(path),
            told,
            {
                name: torch.cat(some).view(subsets.runs, subsets.count, -1)
                for name, some in pieces.items()
            },
        )

    @classmethod
    def finished(cls, path: str | os.PathLike[str]) -> tuple[int, int]:
        """How many models are in a folder, and how many there are to be; 0 and 0 without a bank.

        Raises:
            BankCorruptError, BankVersionError: as of `open`.
        """
        files = BankFiles(Path(path))
        return _finished(files, files.read()) if files.exists() else (0, 0)

    def __repr__(self) -> str:
        s = self.subsets
        return (
            f"RetrainedBank({str(self.path)!r}, subsets={s.count}, fraction={s.fraction}, "
            f"runs={s.runs}, examples={self.count:,}, queries={self.queries}, "
            f"purpose={s.purpose!r})"
        )

    @property
    def count(self) -> int:
        """N, how many training examples there are."""
        return self._count

    @property
    def queries(self) -> int:
        """Q, how many queries were measured."""
        number: int = self._told["queries"]
        return number

    @property
    def quantities(self) -> list[str]:
        """What was measured: "loss", and of classifiers "margin"."""
        return sorted(set(self._measured) - {"right"})

    @property
    def membership(self) -> Bool[Tensor, "M N"]:
        members = self.subsets.members(self.count)
        membership = torch.zeros(len(members), self.count, dtype=torch.bool)
        return membership.scatter_(1, members, True)

    def measured(self, quantity: str = "loss") -> Float[Tensor, "R M Q"]:
        """What was measured of the queries under each model, by run and subset.

        Args:
            quantity: "loss", or "margin": log(p / (1 - p)) of the right class.

        Raises:
            InputError: it wasn't measured.
        """
        if quantity not in self.quantities:
            raise InputError(
                f"quantity is {quantity!r}; this bank measured {' and '.join(self.quantities)}"
            )
        return self._measured[quantity]

    def refuse_other_queries(self, queries: Any) -> None:
        """Raises an error where queries aren't those that the bank measured, as far as it knows.

        Args:
            queries: the batch of them.

        Raises:
            InputError: they are others.
        """
        given = InMemory(queries, name="queries")
        if given.count != self.queries:
            raise InputError(f"{given.count} queries came, and {self} measured {self.queries}")
        # Of a Dataset with a collate function, only some were looked at.
        if self._told.get("queries are whole") and given.fingerprint() != self.facts["queries"]:
            raise InputError(
                f"these queries aren't those that the bank at {self.path} measured; give what it "
                f"was built with, in that order, or measure others by `bank.asked`"
            )

    def asked(
        self,
        retraining: Retraining,
        queries: Any,
        *,
        collate_fn: Callable[[list[Any]], Any] | None = None,
    ) -> RetrainedBank:
        """The same models with other queries, in memory.

        Args:
            retraining: what the bank was built with.
            queries: a Dataset, or a batch.
            collate_fn: makes a batch of a list of queries; None takes that of `retraining`.

        Raises:
            BankError: the models' weights weren't kept.
            BankMismatchError: the bank was built with something else.
        """
        if not self._told["keep_models"]:
            raise BankError(
                f"the bank at {self.path} kept no weights, so other queries can't be measured; "
                f"build one with keep_models=True"
            )
        asked = InMemory(queries, collate_fn or retraining.collate_fn, name="queries")
        facts = {**retraining.facts(), "queries": self.facts["queries"]}
        refuse_mismatch(self._told, {**self._told, "facts": facts}, self.path)
        files, pieces = BankFiles(self.path), dict[str, list["Tensor"]]()
        number_of_parts = len(_parts(self.subsets.count * self.subsets.runs, self._part_size))
        for number in range(number_of_parts):
            states = {
                name.removeprefix(_WEIGHTS): tensor
                for name, tensor in files.part(number, _binding(self._told)).items()
                if name.startswith(_WEIGHTS)
            }
            for name, values in retraining.measured(states, asked).items():
                pieces.setdefault(name, []).append(values)
        shape = (self.subsets.runs, self.subsets.count, asked.count)
        told = {
            **self._told,
            "queries": asked.count,
            "queries are whole": asked.is_whole,
            "facts": {**facts, "queries": asked.fingerprint()},
        }
        measured = {name: torch.cat(some).view(shape) for name, some in pieces.items()}
        return RetrainedBank(self.path, told, measured)

    @property
    def _part_size(self) -> int:
        size: int = self._told["part_size"]
        return size


def _parts(models: int, size: int) -> list[range]:
    return [range(start, min(start + size, models)) for start in range(0, models, size)]


def _finished(files: BankFiles, told: dict[str, Any]) -> tuple[int, int]:
    models = told["subsets"]["count"] * told["subsets"]["runs"]
    parts = _parts(models, told["part_size"])
    return sum(len(part) for number, part in enumerate(parts) if files.has_part(number)), models


def _binding(told: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _refuse_diverged(measured: dict[str, Tensor], part: Sequence[int], subsets: Subsets) -> None:
    finite = measured["loss"].isfinite().all(dim=1)
    if not bool(finite.all()):
        place = part[int(finite.logical_not().nonzero()[0])]
        raise NonFiniteError(
            f"the model of subset {place % subsets.count}, run {place // subsets.count}, gives a "
            f"query a loss that is NaN or infinite: its training diverged. Lower the learning rate"
        )
