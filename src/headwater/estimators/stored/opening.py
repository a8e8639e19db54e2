"""A store that is there, held against the estimator that it is opened with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.distributed import Together
from headwater.estimators.stored.binding import (
    binding_of,
    complete_manifest,
    form_from_name,
    form_of,
    parts_of,
    path_of,
)
from headwater.store import StoreFolder

if TYPE_CHECKING:
    from pathlib import Path

    from headwater.estimators.streamed import Streamed
    from headwater.store import Manifest


def opened(path: str | Path, estimator: Any) -> tuple[Path, Streamed, Manifest]:
    """A store's folder, the estimator's parts in the store's form, and the store's state.

    Args:
        path: the store's; one at a URL is copied.
        estimator: what it has to be of; see `GradientStore.open`, which says what is raised.
    """
    folder = StoreFolder(path_of(path))
    # What no store was built from has no model, perhaps; that it isn't, is said of its parts.
    model = parts_of(estimator, None).net
    with Together.sharing(model, {"what is done": "a store is opened"}) as ranks:
        manifest = complete_manifest(folder, ranks)
        stored = manifest.binding
        parts = parts_of(estimator, form_from_name(stored["form"]))
        form = form_of(parts, stored["form"])
        binding_of(parts, form=form, dtype=stored["dtype"], stored=stored, ranks=ranks)
        return folder.path, parts, manifest
