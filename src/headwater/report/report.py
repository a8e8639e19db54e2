"""The report: one page on which people find wrong labels and see what is behind predictions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater.errors import InputError
from headwater.estimators.store_place import names_store
from headwater.estimators.streamed import Streamed
from headwater.files import refuse_unwritable, replacing
from headwater.report.findings import Findings, find
from headwater.report.options import Options
from headwater.report.page import refuse_missing, render, signed_with_page
from headwater.report.page_data import page_data
from headwater.report.provenance import citation
from headwater.report.record import record_of
from headwater.results.names import Names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from os import PathLike

    from headwater.cleaning import Suspects
    from headwater.estimators import TracInCPBase
    from headwater.report.contents import Kind

PAGE = "index.html"


def _names_in_config(model: Any) -> list[str] | None:
    """The names of classes that models of transformers carry."""
    names = getattr(getattr(model, "config", None), "id2label", None)
    if not isinstance(names, dict) or set(names) != set(range(len(names))):
        return None
    return [str(names[place]) for place in range(len(names))]


class Report:
    """One HTML file with the suspects of a training set and what is behind predictions.

    Made at the first call of `html` or `write`. The page needs no network and no other file;
    decisions that are taken on it stay in the browser until they are exported.

    Args:
        estimator: one that goes through its training data, such as a `TracInCP`, `TracInCPFast` or
            `InfluenceFunction`; their order is fixed.
        inputs, targets: the queries whose predictions are explained, as for `influence`; None
            leaves that part out.
        examples: what is known of the training examples, by column, as for `attribute`; "id" holds
            their names and "text" their texts. The others are shown and searched.
        queries: what is known of the queries, likewise.
        title: of the page.
        kind: "images", "text" or "rows" (of numbers); None finds out. Flat rows are "images" only
            where that is said, and the number of pixels is a square.
        class_names: of the classes 0, 1, ...; None takes those of the model's config, or numbers.
        feature_names: of the numbers in a row.
        truth: for a test of the method: the column of examples (or a list) with the true labels,
            where they are known. The page then says how many wrong ones each ranking brings up.
        source: the column of examples by which shares of influence are told beside the class; None
            takes "source", where there is one.
        suspects: what `headwater.cleaning.suspects_of` said of this data, in a way of your own;
            None asks it, where labels are classes and the estimator is a TracInCP or TracInCPFast.
            Its combined score is what examples are ranked by; without, that is self-influence.
        rankings: other scores of the training examples, by name, high where an example is suspect:
            columns to sort by. The first is what examples are ranked by then.
        decode: makes a text of a list of ids of tokens, such as `tokenizer.decode`.
        k: proponents and opponents to name on each side.
        traced: of how many suspects proponents and opponents are computed, from the first in the
            ranking.
        explained: how many queries are explained: misread ones first, by their loss.
        max_examples: training examples on the page, from the first in the ranking; the page says
            where it leaves some out.
        show_progress: whether there are bars, on stderr.

    Raises:
        InputError: an argument is of the wrong kind, or the training data is a stream or a store.
    """

    def __init__(
        self,
        estimator: TracInCPBase,
        inputs: Any = None,
        targets: Any = None,
        *,
        examples: Mapping[str, Any] | None = None,
        queries: Mapping[str, Any] | None = None,
        title: str | None = None,
        kind: Kind | None = None,
        class_names: Sequence[str] | None = None,
        feature_names: Sequence[str] | None = None,
        truth: str | Sequence[Any] | None = None,
        source: str | None = None,
        suspects: Suspects | None = None,
        rankings: Mapping[str, Any] | None = None,
        decode: Callable[[list[int]], str] | None = None,
        k: int = 8,
        traced: int = 300,
        explained: int = 12,
        max_examples: int = 5000,
        show_progress: bool = False,
    ) -> None:
        parts = getattr(estimator, "_streamed", None)
        if not isinstance(parts, Streamed) or names_store(estimator.influence_src_dataset):
            raise InputError(
                f"estimator is {estimator!r}; a report shows the training examples themselves, so "
                f"it takes an estimator that goes through training data, such as a TracInCP"
            )
        if parts.data.count is None or not parts.series.replayable:
            what = (
                "training data is a stream"
                if parts.data.count is None
                else ("checkpoints come from a generator")
            )
            raise InputError(
                f"the {what}, and a report goes back to single examples at every checkpoint; pass "
                f"a dataset with __getitem__ and __len__, and a list of checkpoints"
            )
        if inputs is None and (targets is not None or queries):
            raise InputError("targets or queries are given without inputs")
        if class_names is None:
            class_names = _names_in_config(estimator.model)
        self._options = Options(
            title=title,
            kind=kind,
            class_names=class_names,
            feature_names=feature_names,
            truth=truth,
            source=source,
            suspects=suspects,
            rankings=rankings,
            decode=decode,
            k=k,
            traced=traced,
            explained=explained,
            max_examples=max_examples,
        )
        self._options.refuse_odd()
        self._estimator = estimator
        self._parts: Streamed = parts
        self._question = None
        if inputs is not None:
            self._question = estimator._question(inputs, targets)
        self._examples = Names("training example", examples or {}, parts.data.count)
        self._queries = Names(
            "query", queries or {}, None if self._question is None else self._question.size
        )
        self._show_progress = show_progress
        self._made: tuple[str, dict[str, Any]] | None = None

    def __repr__(self) -> str:
        return f"Report({self._estimator!r})"

    @property
    def provenance(self) -> dict[str, Any]:
        """The record of what the report was made of, as it stands on the page; ready for JSON."""
        return self._page()[1]

    @property
    def citation(self) -> str:
        """A sentence to cite the report by, with the digest of its record."""
        return citation(self.provenance)

    def html(self) -> str:
        """The page."""
        return self._page()[0]

    def write(self, path: str | PathLike[str]) -> Path:
        """Writes the page, whole or not at all.

        Args:
            path: of the file, if it ends in .html; else of a folder, which is made, for its
                index.html.

        Returns:
            the file's path.

        Raises:
            MissingDependencyError: what the page is made with isn't installed.
            InputError: nothing can be written there; found out before the work.
        """
        file = Path(path)
        if file.suffix.lower() not in (".html", ".htm"):
            file = file / PAGE
        refuse_unwritable(file)
        page = self.html()
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as temporary:
            temporary.write_text(page, encoding="utf-8")
        return file

    def _page(self) -> tuple[str, dict[str, Any]]:
        if self._made is None:
            refuse_missing()
            findings: Findings = find(
                self._estimator,
                self._parts,
                self._question,
                self._examples,
                self._queries,
                self._options,
                show_progress=self._show_progress,
            )
            data = page_data(findings, self._examples, self._queries, self._options)
            record = record_of(self._estimator, self._parts, findings, data)
            record = signed_with_page(record, render(data, record))
            self._made = render(data, record), record
        return self._made
