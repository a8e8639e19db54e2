"""What a store's numbers depend on, and the comparison with what it is opened with."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from headwater.capture import borrowed
from headwater.engine.fingerprint import data_fingerprint, weights_digest
from headwater.errors import InputError, StoreIncompleteError, StoreMismatchError
from headwater.estimators.streamed import Streamed
from headwater.forms import Projected
from headwater.tasks import LossTask
from headwater.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headwater.store import Manifest, StoreFolder
    from headwater.tasks import Task

StoredForm = Literal["factored", "materialised"]

_NAMES = {
    "checkpoints": "the weights of the checkpoints",
    "learning_rates": "the learning rates",
    "selection": "the selected layers",
    "shapes": "the shapes of the selected parameters",
    "loss": "the loss",
    "data": "the training data (its length, and a sample of it)",
    "form": "the form",
    "dtype": "the stored dtype",
}


def complete_manifest(folder: StoreFolder) -> Manifest:
    """The manifest of a store that is ready for queries.

    Raises:
        StoreNotFoundError: there is no store.
        StoreIncompleteError: its build was interrupted.
    """
    manifest = folder.read_manifest()
    if not manifest.complete:
        raise StoreIncompleteError(
            f"the build of {folder.path} was interrupted after {manifest.live} examples; "
            f"GradientStore.build(estimator, path) goes on with it"
        )
    return manifest


def binding_of(parts: Streamed, *, form: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """By field, what the numbers depend on. Loads every checkpoint once."""
    return {
        **model_binding(parts),
        **checkpoints_binding(parts),
        "data": data_fingerprint(parts.data),
        "form": dict(form),
        "dtype": dtype,
    }


def checkpoints_binding(parts: Streamed) -> dict[str, Any]:
    """The fields about checkpoints. Loads every one once."""
    digests, rates = [], []
    with borrowed(parts.net):
        for loaded in parts.series.visit():
            digests.append(weights_digest(parts.net))
            rates.append(loaded.rate)
    return {"checkpoints": digests, "learning_rates": rates}


def model_binding(parts: Streamed) -> dict[str, Any]:
    """The fields that a model and its loss are enough for."""
    parameters = dict(parts.net.named_parameters())
    return {
        "selection": list(parts.selection),
        "shapes": [list(parameters[name].shape) for name in parts.selection],
        "loss": task_name(parts.task),
    }


def refuse_mismatch(stored: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raises StoreMismatchError for the first field in which the two differ."""
    for field in [*_NAMES, *(key for key in stored if key not in _NAMES)]:
        old, new = stored.get(field), given.get(field)
        if old == new:
            continue
        if isinstance(old, list) and isinstance(new, list):
            if len(old) != len(new):
                where = f": {len(old)} in the store and {len(new)} here"
            else:
                pairs = enumerate(zip(old, new, strict=True))
                place = next(place for place, (a, b) in pairs if a != b)
                where = f", first at place {place}: {old[place]} in the store and {new[place]} here"
        else:
            where = f": {old} in the store and {new} here"
        raise StoreMismatchError(
            f"the store was made of something else, field {field!r}: {_NAMES.get(field, field)} "
            f"differ{where}. Open it with the estimator it was built from, or build another"
        )


def task_name(task: Task) -> str:
    """A name for a task that differs where its losses would, as far as names go."""
    if isinstance(task, LossTask):
        loss = task.loss_fn
        name = repr(loss) if isinstance(loss, nn.Module) else _name(loss)
        return f"{name} ({getattr(loss, 'reduction', 'no reduction said')})"
    options = {key: value for key, value in vars(task).items() if isinstance(value, (str, int))}
    return f"{_name(type(task))} {options}"


def _name(thing: Any) -> str:
    # Without the module, which is another when a script is run and when it is imported.
    name: str = getattr(thing, "__qualname__", type(thing).__qualname__)
    return name


def versions() -> dict[str, str]:
    """Of what wrote a store; for people, since numbers agree to rounding over versions."""
    return {
        "headwater": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }


def parts_of(estimator: Any, form: StoredForm | Projected | None) -> Streamed:
    """An estimator's parts, with the form that its store is to have.

    Raises:
        InputError: it isn't an estimator that stores are built from, or the form is unknown.
    """
    parts = getattr(estimator, "_streamed", None)
    if not isinstance(parts, Streamed):
        raise InputError(
            f"estimator is a {type(estimator).__name__}; a store is built from a TracInCP or "
            f"TracInCPFast"
        )
    source = estimator.influence_src_dataset
    if isinstance(source, (str, Path)):
        raise InputError(
            f"the estimator answers from the store at {source} itself, in place of training data: "
            f"call its influence(), or make an estimator of the dataset"
        )
    if form is None:
        return parts
    if form in ("factored", "materialised"):
        return parts.with_form(None)
    if not isinstance(form, Projected):
        raise InputError(
            f"form is {form!r}; expected 'factored', 'materialised' or Projected(dim=..., seed=...)"
        )
    return parts.with_form(form)


def form_name(form: StoredForm | Projected | None, parts: Streamed) -> dict[str, Any]:
    """How a manifest says what gradients are stored as."""
    if parts.form is not None:
        return {"kind": "projected", "dim": parts.form.dim, "seed": parts.form.seed}
    return {"kind": form or "factored"}


def form_from_name(name: Mapping[str, Any]) -> StoredForm | Projected:
    """The form of which a manifest says this."""
    if name["kind"] == "projected":
        return Projected(name["dim"], name["seed"])
    kind: StoredForm = name["kind"]
    return kind
