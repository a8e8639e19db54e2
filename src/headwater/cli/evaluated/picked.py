"""The queries that methods are judged by, and scores of them from files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.cli.evaluated.fitting import was_given
from headwater.cli.given_scores import read_scores
from headwater.results.names import ID, Names

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from headwater.cli.attribution import AttributionFile
    from headwater.cli.attribution.query_set import Queries
    from headwater.cli.places import Places


def picked_queries(given: AttributionFile, places: Places) -> Queries:
    """The queries in the places; by default as many of the first ones as there are."""
    count = given.queries.count
    wanted = places.of(count)
    if not was_given("queries"):
        wanted = [place for place in wanted if place < count]
    return given.queries.picked(wanted)


def batch_of(picked: Queries) -> Any:
    """The queries as a batch, which a list could be mistaken for examples in place of."""
    return tuple(picked.batch) if isinstance(picked.batch, list) else picked.batch


def scores_in_files(
    given: AttributionFile, picked: Queries, paths: dict[str, Path], count: int
) -> dict[str, Tensor]:
    """By name, the scores in files of all `count` training examples and the queries."""
    names = Names("training example", given.train_columns, count)
    ids = [names.id(place) for place in range(count)]
    return {
        name: read_scores(path, ids=ids, query_ids=picked.columns[ID])
        for name, path in paths.items()
    }
