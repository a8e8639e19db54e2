"""The training examples as batches in a fixed order."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sized
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
)

from headwater.engine.deal import Deal
from headwater.errors import HeadwaterWarning, InputError, ShuffledLoaderError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Where a batch size can't be measured: reading an example twice could lose it from a stream.
STREAM_BATCH_SIZE = 64
# Where nobody has settled a batch size: few enough to fit wherever a batch does.
SAMPLE_BATCH_SIZE = 4


class TrainingData:
    """A dataset, or a loader of the user's own, that yields the same batches on every pass.

    Args:
        source: a Dataset (or any sequence of examples), batched here; or a DataLoader, taken as
            it is.
        batch_size: examples per batch of a Dataset; "auto" leaves it to the engine.
        collate: makes a batch of a Dataset's examples; a loader has its own way.

    Raises:
        ShuffledLoaderError: the loader's order isn't fixed.
        InputError: the source or the batch size is of the wrong kind.
    """

    def __init__(
        self,
        source: Any,
        batch_size: int | Literal["auto"],
        collate: Callable[[list[Any]], Any] = default_collate,
    ) -> None:
        if batch_size != "auto" and (
            not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1
        ):
            raise InputError(f"batch_size is {batch_size!r}; expected a positive int or 'auto'")
        self._source = source
        self._batch_size = batch_size
        self._collate = collate
        if isinstance(source, DataLoader):
            _refuse_shuffling(source)
            _warn_of_left_out(source)
        elif not hasattr(source, "__getitem__") and not isinstance(source, IterableDataset):
            raise InputError(
                f"influence_src_dataset is a {type(source).__name__}; expected a "
                f"torch.utils.data.Dataset or a DataLoader, or the folder of a GradientStore for "
                f"estimators that stores are built from"
            )

    @property
    def batch_size(self) -> int | None:
        """Examples per batch where that is settled; None where the engine is to choose."""
        if isinstance(self._source, DataLoader):
            return self._source.batch_size or STREAM_BATCH_SIZE
        if self._batch_size != "auto":
            return self._batch_size
        return STREAM_BATCH_SIZE if isinstance(self._source, IterableDataset) else None

    @property
    def count(self) -> int | None:
        """The number of training examples N, where it can be known beforehand."""
        if not isinstance(self._source, DataLoader):
            return _length(self._source)
        if self._source.batch_sampler is None:
            return None
        count = _length(self._source.sampler)
        return None if count is None else count - _left_out(self._source)

    @property
    def _dataset(self) -> Any:
        return self._source.dataset if isinstance(self._source, DataLoader) else self._source

    @property
    def _is_stream(self) -> bool:
        return isinstance(self._dataset, IterableDataset) or _length(self._dataset) is None

    def batches(self, batch_size: int) -> Iterator[Any]:
        """The batches, from the first.

        Args:
            batch_size: examples per batch of a Dataset; not used for a loader of the user's own.
        """
        loader = self._source
        if not isinstance(loader, DataLoader):
            loader = self._loader(batch_size)
        if _only_stacks_rows(loader):
            # Not a generator, whose loop would hold a batch while the next one is read.
            return map(itemgetter(1), _slices(loader, Deal()))
        return iter(loader)

    @property
    def is_in_memory(self) -> bool:
        """Whether batches are slices of tensors: reading them again costs next to nothing."""
        loader = self._source
        return _only_stacks_rows(loader if isinstance(loader, DataLoader) else self._loader(1))

    @property
    def is_read_whole(self) -> bool:
        """Whether a part of the batches can be read only with all that come before them."""
        loader = self._source
        if not isinstance(loader, DataLoader):
            return isinstance(loader, IterableDataset)
        return loader.batch_sampler is None or isinstance(loader.dataset, IterableDataset)

    def dealt(self, batch_size: int, deal: Deal) -> Iterator[tuple[int, Any]]:
        """A rank's batches, each with the place of its first example; no others are read.

        Places are those of the examples that the loader's sampler asks for. Not for data that
        `is_read_whole`.

        Args:
            batch_size: as for `batches`.
            deal: which of the batches.
        """
        loader = self._source
        if not isinstance(loader, DataLoader):
            loader = self._loader(batch_size)
        if _only_stacks_rows(loader):
            return _slices(loader, deal)
        part = DataLoader(
            loader.dataset,
            batch_sampler=_Dealt(loader.batch_sampler, deal),
            collate_fn=loader.collate_fn,
            num_workers=loader.num_workers,
            pin_memory=loader.pin_memory,
            timeout=loader.timeout,
            worker_init_fn=loader.worker_init_fn,
            multiprocessing_context=loader.multiprocessing_context,
            prefetch_factor=loader.prefetch_factor,
        )
        return zip(_starts(loader.batch_sampler, deal, batch_size), part, strict=True)

    def number_of_batches(self, batch_size: int) -> int | None:
        """How many batches a pass has, where it can be known beforehand."""
        if isinstance(self._source, DataLoader):
            return _length(self._source)
        count = self.count
        return None if count is None else -(-count // batch_size)

    def full_batches(self, batch_size: int) -> int | None:
        """How many batches, from the first one on, have as many examples as a batch should have.

        None where that can't be known, or a part of the batches can't be read without the others.
        """
        loader = self._source
        if not isinstance(loader, DataLoader):
            loader = self._loader(batch_size)
        sampler = loader.batch_sampler
        if self.is_read_whole or type(sampler) is not BatchSampler:
            return None
        count = _length(sampler.sampler)
        return None if count is None else count // sampler.batch_size

    def alone(self, place: int) -> Any | None:
        """The batch that holds the example at a place of the first batch and no other.

        None where examples can't be picked out: streams, and batches that the dataset makes itself.
        """
        loader = self._source
        if not isinstance(loader, DataLoader):
            loader = self._loader(1)
        if loader.batch_sampler is None or isinstance(loader.dataset, IterableDataset):
            return None
        index = next(islice(loader.sampler, place, None), None)
        return None if index is None else loader.collate_fn([loader.dataset[index]])

    def spread(self, size: int) -> list[Any]:
        """Some examples at even distances, the first and last among them; of a stream one batch."""
        if self._is_stream:
            return list(islice(self.batches(self.batch_size or STREAM_BATCH_SIZE), 1))
        dataset, count = self._dataset, len(self._dataset)
        places = {i * (count - 1) // max(1, size - 1) for i in range(size)} if count else set()
        return [dataset[place] for place in sorted(places)]

    def batched(self, spread: Sequence[Any]) -> list[Any]:
        """What `spread` gave, in batches as the data makes them."""
        loader = self._source
        if self._is_stream:
            return list(spread)
        if not isinstance(loader, DataLoader):
            size, collate = self.batch_size or SAMPLE_BATCH_SIZE, self._collate
        elif loader.batch_sampler is None:
            return [loader.collate_fn(batch) for batch in spread]
        else:
            # A batch sampler of the user's own may be there since not all examples fit together.
            size, collate = loader.batch_size or 1, loader.collate_fn
        # Not more than fit wherever a batch does: a settled size may be one that has to be halved.
        size = min(size, SAMPLE_BATCH_SIZE)
        starts = range(0, len(spread), size)
        return [collate(list(spread[start : start + size])) for start in starts]

    def subset(self, places: Sequence[int]) -> TrainingData:
        """The examples in some places, as data of their own.

        Raises:
            InputError: the data is a stream, from which examples can't be picked.
        """
        if not isinstance(self._source, DataLoader):
            dataset, order = self._source, None
        else:
            dataset, order = self._source.dataset, self._source.sampler
            if self._source.batch_sampler is None:
                dataset = None
        if dataset is None or isinstance(dataset, IterableDataset):
            raise InputError("the training data is a stream, from which no examples can be picked")
        chosen = list(places)
        if order is not None:
            in_order = list(order)
            chosen = [in_order[place] for place in chosen]
        part: Subset[Any] = Subset(dataset, chosen)
        if not isinstance(self._source, DataLoader):
            return TrainingData(part, self._batch_size, self._collate)
        size, collate = self._source.batch_size or STREAM_BATCH_SIZE, self._source.collate_fn
        return TrainingData(DataLoader(part, batch_size=size, collate_fn=collate), "auto")

    def sample(self, size: int) -> Any | None:
        """The first few examples as a batch, to measure on; None for an empty dataset."""
        dataset: Sequence[Any] = self._source
        examples = [dataset[index] for index in range(min(size, len(dataset)))]
        return self._collate(examples) if examples else None

    def _loader(self, batch_size: int) -> DataLoader[Any]:
        return DataLoader(
            self._source, batch_size=batch_size, shuffle=False, collate_fn=self._collate
        )


def _only_stacks_rows(loader: DataLoader[Any]) -> bool:
    """Whether a batch is rows of tensors, in order: what slices of these tensors are too."""
    # The batch sampler's own settings count: with one of the user's, the loader's say nothing.
    sampler = loader.batch_sampler
    return (
        type(loader) is DataLoader
        and type(loader.dataset) is TensorDataset
        and all(type(tensor) is Tensor for tensor in loader.dataset.tensors)
        and type(sampler) is BatchSampler
        and type(sampler.sampler) is SequentialSampler
        and len(sampler.sampler) == len(loader.dataset)
        and loader.collate_fn is default_collate
        and loader.num_workers == 0
        and not loader.pin_memory
    )


class _Dealt(Sampler[list[int]]):
    """A rank's part of a sampler's batches."""

    def __init__(self, sampler: Any, deal: Deal) -> None:
        self._sampler = sampler
        self._deal = deal

    def __iter__(self) -> Iterator[list[int]]:
        return (batch for number, batch in enumerate(self._sampler) if self._deal.has(number))


def _starts(sampler: Any, deal: Deal, batch_size: int) -> Iterator[int]:
    """Where a rank's batches begin, among all examples."""
    start = 0
    for number, batch in enumerate(sampler):
        if deal.has(number):
            yield start
        size = _length(batch)
        start += batch_size if size is None else size


def _slices(loader: DataLoader[Any], deal: Deal) -> Iterator[tuple[int, list[Tensor]]]:
    # Fetching and stacking rows one by one takes as long as half a plain pass of a small model.
    dataset, sampler = loader.dataset, loader.batch_sampler
    assert isinstance(dataset, TensorDataset)
    assert isinstance(sampler, BatchSampler)
    size, count = sampler.batch_size, len(dataset)
    last = count - count % size if sampler.drop_last else count
    for number, start in enumerate(range(0, last, size)):
        if deal.has(number):
            # Copies, as stacking makes them: a model may write to what it is given.
            yield start, [tensor[start : start + size].clone() for tensor in dataset.tensors]


def _length(sized: Any) -> int | None:
    if not isinstance(sized, Sized):
        return None
    try:
        return len(sized)
    except TypeError:
        # A loader of an IterableDataset has a `__len__` that raises.
        return None


def _left_out(loader: DataLoader[Any]) -> int:
    """How many examples at the end of its data a loader drops."""
    sampler: Any = loader.batch_sampler
    count = _length(getattr(sampler, "sampler", None))
    if type(sampler) is not BatchSampler or not sampler.drop_last or count is None:
        return 0
    return count % sampler.batch_size


def _warn_of_left_out(loader: DataLoader[Any]) -> None:
    count = _left_out(loader)
    if count:
        warnings.warn(
            f"the loader has drop_last=True, so the last {count} "
            f"{'example is' if count == 1 else 'examples are'} left out and "
            f"{'has' if count == 1 else 'have'} no score; use drop_last=False",
            HeadwaterWarning,
            stacklevel=5,
        )


def _refuse_shuffling(loader: DataLoader[Any]) -> None:
    random = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)
    samplers = [loader.sampler, getattr(loader.batch_sampler, "sampler", None)]
    for sampler in samplers:
        if isinstance(sampler, random) or getattr(sampler, "shuffle", False) is True:
            raise ShuffledLoaderError(
                f"the loader shuffles (its sampler is a {type(sampler).__name__}), so the index of "
                f"a training example would mean nothing; build it with shuffle=False"
            )
    if loader.batch_sampler is not None and not isinstance(loader.dataset, IterableDataset):
        # A sampler of the user's own tells only by what it does.
        once, again = (list(islice(loader.batch_sampler, 16)) for _ in range(2))
        if once != again:
            raise ShuffledLoaderError(
                f"the loader's sampler ({type(loader.sampler).__name__}) gives another order each "
                f"time, so the index of a training example would mean nothing; use a fixed order"
            )
