"""Whether a report is as it was written, and still of the same run."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater.errors import ReportError
from headwater.report.data_digest import DataDigest
from headwater.report.outputs import visited_checkpoints
from headwater.report.page import page_digest
from headwater.report.provenance import FORMAT, VERSION, digest_of, is_intact

if TYPE_CHECKING:
    from os import PathLike

    from headwater.estimators import TracInCPBase

_PARTS = ("data", "record")


def verify_report(
    path: str | PathLike[str], estimator: TracInCPBase | None = None
) -> dict[str, Any]:
    """The provenance record of a report, after a look at whether everything agrees with it.

    A record is no signature: who changes a page can write a new record. That it is the one that was
    cited shows by its own digest, `record["sha256"]`.

    Args:
        path: of the page, or of the folder with its index.html.
        estimator: the run that it is meant to be of; None compares the page with itself only.

    Raises:
        ReportError: it is no report, or the first thing that doesn't agree: the record, the page's
            numbers, the rest of its text, or the run's model, data, checkpoints or rates.
    """
    file = Path(path)
    file = file / "index.html" if file.is_dir() else file
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ReportError(f"{file} can't be read: {error}") from error
    found = _embedded(file, text)
    record = found["record"]
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ReportError(f"{file} has no provenance record")
    if record.get("version") != VERSION:
        raise ReportError(
            f"{file} has a record of version {record.get('version')!r}, and this headwater reads "
            f"version {VERSION}"
        )
    if not is_intact(record):
        raise ReportError(f"{file}: the provenance record was changed since it was written")
    if digest_of(found["data"]) != record["results"]["page"]:
        raise ReportError(f"{file}: what the page shows was changed since it was written")
    if page_digest(text, record) != record["results"].get("html"):
        raise ReportError(
            f"{file}: the page was changed since it was written, though not the data in it"
        )
    if estimator is not None:
        _compare(file, record, estimator)
    return record


def _compare(file: Path, record: dict[str, Any], estimator: TracInCPBase) -> None:
    parts: Any = estimator._streamed  # type: ignore[attr-defined]
    digest = DataDigest(parts.data)
    for _ in digest.through(parts.data.batches(parts.data.batch_size or 256)):
        pass
    checkpoints = [
        {"name": one.name, "rates": list(one.rates), "weights": one.weights}
        for one in visited_checkpoints(parts)
    ]
    now = {
        "model": type(estimator.model).__name__,
        "selected parameters": list(parts.selection),
        "number of training examples": digest.examples,
        "training data": digest.every_example,
        "number of checkpoints": len(checkpoints),
        "learning rates": [one["rates"] for one in checkpoints],
        "weights of the checkpoints": [one["weights"] for one in checkpoints],
    }
    then = {
        "model": record["model"]["class"],
        "selected parameters": record["model"]["selected"],
        "number of training examples": record["data"]["examples"],
        "training data": record["data"]["every_example"],
        "number of checkpoints": len(record["checkpoints"]),
        "learning rates": [one["rates"] for one in record["checkpoints"]],
        "weights of the checkpoints": [one["weights"] for one in record["checkpoints"]],
    }
    for name, value in now.items():
        if value != then[name]:
            raise ReportError(
                f"{file} is of another run: the {name} differ{'' if name.endswith('s') else 's'} "
                f"({_short(then[name])} in the record, {_short(value)} here)"
            )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _embedded(file: Path, text: str) -> dict[str, Any]:
    parser = _Parts()
    parser.feed(text)
    missing = [name for name in _PARTS if name not in parser.found]
    if missing:
        raise ReportError(f"{file} is no report of headwater: it has no part {missing[0]!r}")
    try:
        return {name: json.loads("".join(parser.found[name])) for name in _PARTS}
    except json.JSONDecodeError as error:
        raise ReportError(f"{file}: a part of the page isn't JSON any more: {error}") from error


class _Parts(HTMLParser):
    """The texts of the page's own JSON elements."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, list[str]] = {}
        self._in: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "script" and given.get("type") == "application/json":
            name = given.get("id") or ""
            if name in _PARTS and name not in self.found:
                self._in = name
                self.found[name] = []

    def handle_endtag(self, tag: str) -> None:
        self._in = None

    def handle_data(self, data: str) -> None:
        if self._in is not None:
            self.found[self._in].append(data)
