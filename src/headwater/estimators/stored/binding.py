"""What a store's numbers depend on, and the comparison with what it is opened with."""

from __future__ import annotations

import os
import platform
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from headwater.capture import borrowed
from headwater.capture.borrowed import evaluate
from headwater.distributed import Together
from headwater.engine.fingerprint import data_fingerprint, weights_digest
from headwater.engine.gradient_pass import refuse_generator
from headwater.engine.noted import noted
from headwater.errors import InputError, StoreIncompleteError, StoreMismatchError
from headwater.estimators.loss_name import loss_name
from headwater.estimators.store_place import names_store, place_of
from headwater.estimators.stored.sample_losses import (
    different_loss,
    sample_losses,
    tolerance_of,
)
from headwater.estimators.streamed import Streamed
from headwater.estimators.vectors import VectorForm, VectorParts
from headwater.forms import Projected
from headwater.store import is_url, local_copy
from headwater.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headwater.store import Manifest, StoreFolder

StoredForm = Literal["factored", "materialised"]

# Enough examples to notice another dataset, or the same one in another order.
_SAMPLE = 16

_DIFFERENCES = {
    "checkpoints": "the weights of the checkpoints differ",
    "learning_rates": "the learning rates differ",
    "selection": "the selected layers differ",
    "shapes": "the shapes of the selected parameters differ",
    "loss": "the loss differs",
    "data": "the training data (its length, or a sample of it) differs",
    "losses": (
        "the losses of a sample of the training examples differ, so it is another loss or another "
        "forward pass"
    ),
    "form": "the form differs",
    "dtype": "the stored dtype differs",
}


def complete_manifest(folder: StoreFolder, ranks: Together | None = None) -> Manifest:
    """The manifest of a store that is ready for queries.

    Args:
        folder: the store's.
        ranks: those that share a sharded model's weights, all of which have to see it.

    Raises:
        InputError: a rank sees another store.
        StoreNotFoundError: there is no store.
        StoreIncompleteError: its build was interrupted.
    """
    manifest = folder.read_manifest()
    if not manifest.complete:
        raise StoreIncompleteError(
            f"the build of {folder.path} was interrupted after {manifest.live} examples; "
            f"GradientStore.build(estimator, path), or `headwater store build`, goes on with it"
        )
    if ranks is not None:
        ranks.same({"the store": manifest.binding_digest})
    return manifest


def binding_of(
    parts: Streamed,
    *,
    form: Mapping[str, Any],
    dtype: str,
    stored: Mapping[str, Any] | None = None,
    ranks: Together | None = None,
) -> dict[str, Any]:
    """By field, what the numbers depend on. Loads every checkpoint once.

    Args:
        parts: the estimator's.
        form: as `form_name` says it.
        dtype: of the stored numbers.
        stored: the binding of a store that is to be of the same.
        ranks: those that share a sharded model's weights.

    Raises:
        StoreMismatchError: `stored` differs.
    """
    sample = parts.data.spread(_SAMPLE)
    found = {
        **model_binding(parts),
        "data": data_fingerprint(parts.data.count, sample),
        "form": dict(form),
        "dtype": dtype,
    }
    tolerance = tolerance_of(parts.net)
    if stored is not None:
        # Before any loss is taken: of other data the model may have none.
        known = {field: stored.get(field) for field in found}
        refuse_mismatch(known, found, tolerance=tolerance)
    found.update(checkpoints_binding(parts, sample, ranks=ranks))
    if stored is not None:
        refuse_mismatch(stored, found, tolerance=tolerance)
    return found


def checkpoints_binding(
    parts: Streamed, sample: Sequence[Any] | None = None, *, ranks: Together | None = None
) -> dict[str, Any]:
    """The fields about checkpoints. Loads every one once.

    Args:
        parts: the estimator's.
        sample: training examples whose losses are taken; None leaves that field out.
        ranks: those that share a sharded model's weights, which they gather in step.
    """
    digests: list[str] = []
    rates: list[float | dict[str, float]] = []
    losses = []
    if ranks is not None:
        ranks.same({"the batch size": parts.data.batch_size})
    batches = None if sample is None else parts.data.batched(sample)
    together = ranks or Together(None)
    with borrowed(parts.net, in_step=True), closing(parts.series.visit()) as visits:
        while True:
            with together.step():
                loaded = next(visits, None)
            if loaded is None:
                break
            digests.append(weights_digest(parts.net))
            several = loaded.by_parameter
            rates.append(loaded.rate if several is None else dict(several))
            if batches is not None:
                evaluate(parts.net)
                with noted("training examples of the sample that a store is compared by"):
                    losses.append(sample_losses(parts.task, parts.net, batches))
    found: dict[str, Any] = {"checkpoints": digests, "learning_rates": rates}
    return found if batches is None else {**found, "losses": losses}


def checkpoint_weights(binding: Mapping[str, Any]) -> list[float]:
    """By checkpoint, the rate that its products are multiplied by.

    1 where parameters have several: each is in its parameter's gradient already, as its root.
    """
    return [1.0 if isinstance(r, dict) else r for r in binding["learning_rates"]]


def model_binding(parts: Streamed) -> dict[str, Any]:
    """The fields that a model and its loss are enough for."""
    parameters = dict(parts.net.named_parameters())
    return {
        "selection": list(parts.selection),
        "shapes": [list(parameters[name].shape) for name in parts.selection],
        "loss": loss_name(parts.task),
    }


def refuse_mismatch(
    stored: Mapping[str, Any], given: Mapping[str, Any], *, tolerance: float
) -> None:
    """Raises StoreMismatchError for the first field in which the two differ.

    Args:
        stored: a store's binding. Without losses, as stores were at first, none are compared.
        given: what it is opened with.
        tolerance: how far losses may be apart, as a share of the largest.
    """
    for field in [*_DIFFERENCES, *(key for key in stored if key not in _DIFFERENCES)]:
        old, new = stored.get(field), given.get(field)
        if field != "losses":
            where = _difference(old, new)
        elif old is None or new is None:
            where = None
        else:
            where = different_loss(old, new, tolerance=tolerance)
        if where is not None:
            differ = _DIFFERENCES.get(field, f"{field} differs")
            raise StoreMismatchError(
                f"the store was made of something else, field {field!r}: {differ}: {where}. Open "
                f"it with the estimator and settings it was built from, or build another"
            )


def _difference(old: Any, new: Any) -> str | None:
    if old == new:
        return None
    if not isinstance(old, list) or not isinstance(new, list):
        return f"{old} in the store and {new} here"
    if len(old) != len(new):
        return f"{len(old)} in the store and {len(new)} here"
    pairs = enumerate(zip(old, new, strict=True))
    place = next(place for place, (a, b) in pairs if a != b)
    return f"first at place {place}, {old[place]} in the store and {new[place]} here"


def versions() -> dict[str, str]:
    """Of what wrote a store; for people, since numbers agree to rounding over versions."""
    return {
        "headwater": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }


def parts_of(estimator: Any, form: StoredForm | Projected | VectorForm | None) -> Streamed:
    """An estimator's parts, with the form that its store is to have.

    Raises:
        InputError: it isn't an estimator that stores are built from, its checkpoints come from a
            generator, or the form is unknown.
    """
    parts = getattr(estimator, "_streamed", None)
    if not isinstance(parts, Streamed) or not (
        parts.quantities.plain or isinstance(parts, VectorParts)
    ):
        raise InputError(
            f"estimator is a {type(estimator).__name__}; a store is built from a TracInCP, "
            f"TracInCPFast, GradDot, TRAK, LoGra or LESS: GradientStore.build(estimator, path), "
            f"and opened by GradientStore.open(path, estimator)"
        )
    source = estimator.influence_src_dataset
    if names_store(source):
        raise InputError(
            f"the estimator answers from the store at {place_of(source)} itself, in place of "
            f"training data: call its influence(), or make an estimator of the dataset"
        )
    refuse_generator(parts.series)
    if isinstance(parts, VectorParts):
        if form is not None and not isinstance(form, VectorForm):
            raise InputError(
                f"form is {form!r}, but a store of a {parts.vectors.method} keeps its own vectors; "
                f"leave form out"
            )
        return parts
    if form is None or isinstance(form, VectorForm):
        return parts
    if form in ("factored", "materialised"):
        return parts.with_form(None)
    if not isinstance(form, Projected):
        raise InputError(
            f"form is {form!r}; expected 'factored', 'materialised' or Projected(dim=..., seed=...)"
        )
    return parts.with_form(form)


def path_of(path: Any) -> Path:
    """The folder of a store; of one at a URL that of a copy, which is made.

    Raises:
        InputError: it is no path.
        StoreError: there is no store at the URL, or it can't be copied.
        MissingDependencyError: the URL needs a package that isn't installed.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise InputError(
            f"path is a {type(path).__name__}; expected the folder of a store: "
            f"GradientStore.build(estimator, path), or GradientStore.open(path, estimator)"
        )
    return local_copy(str(path)) if is_url(path) else Path(path)


def form_name(form: StoredForm | Projected | None, parts: Streamed) -> dict[str, Any]:
    """How a manifest says what gradients are stored as."""
    if isinstance(parts, VectorParts):
        return parts.vectors.name
    if parts.form is not None:
        return {"kind": "projected", "dim": parts.form.dim, "seed": parts.form.seed}
    return {"kind": form or "factored"}


def form_of(parts: Streamed, stored: Mapping[str, Any]) -> dict[str, Any]:
    """The form that parts have, to be held against a store's.

    Gradients can be put in whatever form a store has them; a method's vectors are its own.
    """
    vectors = stored["kind"] == "vectors"
    if isinstance(parts, VectorParts) or vectors:
        return form_name(None, parts)
    return dict(stored)


def form_from_name(name: Mapping[str, Any]) -> StoredForm | Projected | VectorForm:
    """The form of which a manifest says this."""
    if name["kind"] == "vectors":
        return VectorForm.from_name(name)
    if name["kind"] == "projected":
        return Projected(name["dim"], name["seed"])
    kind: StoredForm = name["kind"]
    return kind
