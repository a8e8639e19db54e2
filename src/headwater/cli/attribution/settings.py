"""The names that an attribution file may define, and what each is for."""

from __future__ import annotations

import ast
import difflib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

REQUIRED = {
    "model": "returns the torch.nn.Module that was trained",
    "train_dataset": "returns the training examples, a Dataset or DataLoader in a fixed order",
    "query_dataset": "returns the examples to ask about",
    "loss_fn": "the loss that training minimised (or `task`, a headwater.Task)",
    "checkpoints": "a folder of checkpoints, a list of paths, or what TracInCP takes",
}

# What `apply --retrain` needs besides.
FOR_RETRAINING = {
    "train": "is a function train(dataset, seed) that returns a model trained on that dataset",
    "held_out_dataset": "returns examples that training doesn't see, with labels to be trusted",
}

# Names that are taken for a misspelt setting if one of these is near.
OPTIONAL = (
    "task",
    "train_columns",
    "query_columns",
    "held_out_dataset",
    "learning_rates",
    "checkpoints_load_func",
    "layers",
    "final_layer",
    "batch_size",
    "memory_budget",
    "projection",
    "report_options",
    "train",
    "training",
)
_NEAR = 0.6
_VERY_NEAR = 0.85


def similar(name: str, defined: Iterable[str]) -> str | None:
    """The defined name that was most likely meant to be this one."""
    others = [other for other in defined if other not in REQUIRED and other not in OPTIONAL]
    # `get_model` and `make_train_dataset` are further off than the words that they contain.
    containing = [other for other in others if name in other.lower()]
    near = difflib.get_close_matches(name, others, n=1, cutoff=_NEAR)
    return next(iter([*containing, *near]), None)


def misspelt(defined: Iterable[str]) -> dict[str, str]:
    """By defined name, the optional setting that it was most likely meant to be."""
    names = set(defined)
    found = {}
    for name in sorted(names - set(OPTIONAL) - set(REQUIRED)):
        near = difflib.get_close_matches(name, OPTIONAL, n=1, cutoff=_VERY_NEAR)
        if near and near[0] not in names:
            found[name] = near[0]
    return found


def defined_lines(path: Path) -> dict[str, int]:
    """By name, the line at which a file defines it, for what it defines itself."""
    found: dict[str, int] = {}
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            found.setdefault(statement.name, statement.lineno)
        elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, statement.lineno)
    return found
