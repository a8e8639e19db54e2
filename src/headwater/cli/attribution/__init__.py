"""The user's own file that says what model, data, loss and checkpoints there are."""

from headwater.cli.attribution.attribution_file import AttributionFile
from headwater.cli.attribution.query_set import QuerySet

__all__ = ["AttributionFile", "QuerySet"]
