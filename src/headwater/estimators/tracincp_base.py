"""What the TracInCP estimators have in common: arguments, and the three questions."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from torch import nn

from headwater.adapters import adapter_parameters
from headwater.checkpoints import BoundSeries, default_checkpoints_load_func
from headwater.distributed import refuse_sharding
from headwater.engine import TrainingData, memory_budget_bytes
from headwater.errors import InputError
from headwater.estimators.asked import scores_of
from headwater.estimators.collation import collation
from headwater.estimators.data_influence import DataInfluence
from headwater.estimators.description import described
from headwater.estimators.misplaced import (
    refuse_misplaced_collator,
    refuse_misplaced_loss,
    refuse_misplaced_mapping,
    refuse_misplaced_queries,
    refuse_misplaced_tensors,
    refuse_odd_question,
)
from headwater.estimators.query_batches import rows_of
from headwater.estimators.question import Question
from headwater.estimators.store_place import names_store, place_of
from headwater.estimators.token_influence import TokenInfluence, token_influence
from headwater.results import TRACIN
from headwater.tasks import LossTask, Task
from headwater.tasks.loss import declared_reduction
from headwater.tasks.output import MODEL_OUTPUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from jaxtyping import Float
    from torch import Tensor

    from headwater.engine.sink import AnySink
    from headwater.estimators.results import KMostInfluentialResults
    from headwater.results import Scores, Wording


class TracInCPBase(DataInfluence):
    """Influence as the sum over checkpoints of learning rate times gradient dot product.

    A subclass answers the three questions in `_self_influence`, `_influence` and
    `_get_k_most_influential`.

    Args:
        model: the model. It is borrowed: after every call, also one that raised, it is as before.
        influence_src_dataset: the training examples: a Dataset, or a DataLoader that doesn't
            shuffle. A batch is a tuple or list; `model(*batch[:-1])` are the predictions and
            `batch[-1]` the targets. Or, for estimators that stores are built from, a
            `GradientStore` or its path, which then answers in place of the data.
        checkpoints: a `CheckpointSeries`, a folder, or paths, state dicts, (path or state, rate)
            pairs, or whatever `checkpoints_load_func` understands. None beside a store: then it
            answers self-influence alone.
        checkpoints_load_func: loads a checkpoint into the model and returns its learning rate.
        loss_fn: `(predictions, targets) -> losses`, one per example. None: the model's own output.
        batch_size: examples per batch of a Dataset; "auto" fits it to memory and cache. Results
            don't depend on it.
        learning_rates: one per checkpoint; they win over what checkpoints say.
        task: in place of `loss_fn`, for batches that are no tuples.
        collate_fn: makes a batch of a list of a Dataset's examples, as `DataLoader` takes it; then
            queries may be such a list, or a Dataset of dicts, too. None stacks tensors and numbers.
        memory_budget: bytes, or a text like "2GB", to be used beyond the model, one batch and the
            result; "auto" is a quarter of the memory available to the process at the call, within
            its limits and its container's.

    Raises:
        InputError: an argument is of the wrong kind.
        ShuffledLoaderError: the loader shuffles.
        LossError: `loss_fn.reduction` says it returns no per-example losses.
        NoCheckpointsError: there is no checkpoint.
        LearningRateError: there isn't one learning rate per checkpoint.

    Source: Pruthi et al. (2020), arXiv 2002.08484, section 3.2.
    """

    # The names of the parameters that count; set by every estimator that is made of them.
    _selection: tuple[str, ...] = ()
    # What its scores are in words.
    _wording: Wording = TRACIN
    # Whether all that it does with a model is done by all ranks in step, as a sharded one needs.
    _takes_sharded = False

    def __init__(
        self,
        model: nn.Module,
        influence_src_dataset: Any,
        checkpoints: Any,
        checkpoints_load_func: Callable[[nn.Module, Any], Any] = default_checkpoints_load_func,
        loss_fn: Callable[..., Any] | None = None,
        batch_size: int | Literal["auto"] = "auto",
        *,
        learning_rates: Iterable[float] | None = None,
        task: Task | None = None,
        memory_budget: int | str = "auto",
        collate_fn: Callable[[list[Any]], Any] | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise InputError(f"model is a {type(model).__name__}; expected a torch.nn.Module")
        refuse_sharding(model, supported=self._takes_sharded)
        if task is not None and not isinstance(task, Task):
            raise InputError(f"task is a {type(task).__name__}; expected a headwater.Task")
        if task is not None and loss_fn is not None:
            raise InputError("both task and loss_fn are given; a task brings its own loss")
        refuse_misplaced_loss(loss_fn)
        refuse_misplaced_tensors(
            influence_src_dataset, name="influence_src_dataset", task_given=task is not None
        )
        refuse_misplaced_mapping(influence_src_dataset)
        refuse_misplaced_collator(collate_fn, influence_src_dataset)
        memory_budget_bytes(memory_budget)
        self.model = model
        self.influence_src_dataset = influence_src_dataset
        self.checkpoints = checkpoints
        self.checkpoints_load_func = checkpoints_load_func
        self.loss_fn = loss_fn
        self.batch_size = batch_size
        self.memory_budget = memory_budget
        self.collate_fn = collate_fn
        self._given_task = task
        self._loss_task = self._as_task(loss_fn)
        self._collation = collation(self._loss_task, model, collate_fn)
        stored = names_store(influence_src_dataset)
        if stored and checkpoints is None:
            checkpoints = iter(())
        source = [] if stored else influence_src_dataset
        # Not by `_examples`: a warning points at the caller, so many calls up.
        self._data = TrainingData(source, batch_size, self._collation)
        self._series = BoundSeries(model, checkpoints, checkpoints_load_func, learning_rates)

    def __repr__(self) -> str:
        facts = {"model": type(self.model).__name__}
        source = self.influence_src_dataset
        if names_store(source):
            facts["store"] = repr(place_of(source))
        elif self._data.count is not None:
            facts["examples"] = str(self._data.count)
        if self._series.count is not None:
            facts["checkpoints"] = str(self._series.count)
        adapters = {one.adapter: None for one in adapter_parameters(self.model)}
        if adapters:
            facts["adapter"] = ", ".join(map(repr, adapters))
            every = sum(1 for _ in self.model.parameters())
            facts["parameters"] = f"{len(self._selection)} of {every}"
        return f"{self.get_name()}({', '.join(f'{key}={fact}' for key, fact in facts.items())})"

    def influence(  # type: ignore[override]
        self,
        inputs: Any = None,
        targets: Any = None,
        k: int | None = None,
        proponents: bool = True,
        unpack_inputs: bool = True,
        show_progress: bool = False,
    ) -> Tensor | KMostInfluentialResults:
        """Self-influence, all scores, or each query's k most influential training examples.

            influence(q, n)   = sum over c of rate_c * <grad L(w_c, q), grad L(w_c, n)>
            self_influence(n) = sum over c of rate_c * ||grad L(w_c, n)||^2

        That is TracIn's; another estimator's formula stands in its class. A positive score marks a
        proponent: training on n lowered q's loss. Gradients are those of single examples, never
        divided by a batch size.

        Args:
            inputs: the queries' model inputs; None asks for self-influence. With a `task`, the
                whole batch that it reads, or rows as the dataset has them: a list of dicts.
            targets: the queries' targets. None: the model's own output, one number per query, is
                differentiated instead of the loss.
            k: how many training examples to return per query; None returns all scores.
            proponents: whether the k are the highest scores or (opponents) the lowest.
            unpack_inputs: whether a tuple or list is unpacked, `model(*inputs)`; with False the
                model gets it as one argument.
            show_progress: whether a bar over the training batches is shown, on stderr.

        Returns:
            on the CPU, in the model's precision (float32 at least): self-influence `(N,)`, scores
            `(Q, N)`, or `KMostInfluentialResults` of indices and scores `(Q, min(k, N))`, ties in
            the order of the training data.

        Raises:
            InputError: k is no int of at least 0, or the arguments don't go together.
            BatchError: a batch is no tuple and there is no `task`.
            LossError: the loss isn't per example, nor a plain sum or mean.
            CheckpointError: a checkpoint can't be read, or isn't of this model.
            NonFiniteError: a gradient is NaN or infinite; names the example and the layer.
            CaptureError: examples of a batch influence each other's losses.
        """
        self._refuse_odd_arguments(inputs, targets, k)
        if inputs is None:
            return self._self_influence(show_progress=show_progress)
        arguments = self._arguments(inputs, unpack_inputs=unpack_inputs)
        if k is None:
            return self._influence(arguments, targets, show_progress=show_progress)
        return self._get_k_most_influential(
            arguments, targets, k=k, proponents=proponents, show_progress=show_progress
        )

    def attribute(
        self,
        inputs: Any = None,
        targets: Any = None,
        *,
        examples: Mapping[str, Any] | None = None,
        queries: Mapping[str, Any] | None = None,
        unpack_inputs: bool = True,
        show_progress: bool = False,
    ) -> Scores:
        """The scores of `influence` as `Scores`: with names, a meaning, and ways into tables.

        Nothing is computed yet: what is asked of the scores then streams, so that the matrix of
        all of them is in memory only where it is what was asked for.

        Args:
            inputs, targets, unpack_inputs, show_progress: as for `influence`; inputs=None asks for
                self-influence.
            examples: what is known of the training examples, a column by name with one entry per
                example, such as a DataFrame; "id" holds their own names. It goes into tables, and
                scores can be added up by it.
            queries: what is known of the queries, likewise.

        Raises:
            InputError: a column has another length than there are examples or queries.
        """
        self._refuse_odd_arguments(inputs, targets, None)
        question: Question | None = None
        if inputs is not None:
            question = self._question(inputs, targets, unpack_inputs=unpack_inputs)
        ids = getattr(getattr(self, "_answers", None), "ids", None)
        count = self._data.count if ids is None else len(ids)
        return scores_of(
            partial(self._streaming, show_progress=show_progress),
            question,
            count,
            estimator=described(self),
            examples=examples,
            queries=queries,
            ids=ids,
            measured="output" if self._given_task is None and targets is None else "loss",
            wording=self._wording,
        )

    def _question(
        self, inputs: Any, targets: Any = None, *, unpack_inputs: bool = True
    ) -> Question:
        """What scores with these queries are asked by; arguments as for `influence`."""
        arguments = self._arguments(inputs, unpack_inputs=unpack_inputs)
        return Question.of(*self._query_task(arguments, targets))

    def _arguments(self, inputs: Any, *, unpack_inputs: bool = True) -> tuple[Any, ...]:
        unpacked = unpack_inputs and self._given_task is None and isinstance(inputs, (tuple, list))
        return tuple(inputs) if unpacked else (inputs,)

    def _streaming(
        self,
        question: Question | None,
        sink: Callable[[], AnySink],
        *,
        bounded: bool,
        show_progress: bool,
    ) -> AnySink:
        """The sink with the answer's columns in it, by a subclass's own hooks where it has some."""
        owners = [
            next(place for place, cls in enumerate(type(self).__mro__) if name in vars(cls))
            for name in ("_self_influence", "_influence", "_stream")
        ]
        if min(owners) == owners[-1]:
            return self._stream(question, sink, bounded=bounded, show_progress=show_progress)
        return TracInCPBase._stream(
            self, question, sink, bounded=bounded, show_progress=show_progress
        )

    def _stream(
        self,
        question: Question | None,
        sink: Callable[[], AnySink],
        *,
        bounded: bool,
        show_progress: bool,
    ) -> AnySink:
        """The sink with the answer's columns in it; here by way of all scores."""
        if question is None:
            matrix = self._self_influence(show_progress=show_progress)[None]
        elif self._given_task is not None:
            matrix = self._influence((question.batch,), show_progress=show_progress)
        else:
            *inputs, targets = question.batch
            matrix = self._influence(tuple(inputs), targets, show_progress=show_progress)
        if question is not None and question.summed:
            matrix = matrix.sum(dim=0, keepdim=True)
        filled = sink()
        filled.add(0, matrix)
        return filled

    def token_influence(
        self,
        inputs: Any,
        indices: Any,
        *,
        of: Literal["training", "query"] = "training",
        show_progress: bool = False,
    ) -> TokenInfluence:
        """Each token's part in the scores of some training examples.

            L(w, n)                  = sum over t of l_t(w, n)
            token_influence(q, n, t) = sum over c of rate_c * <grad L(w_c, q), grad l_t(w_c, n)>

        l_t is the loss of token t of n as a target: how well the model predicts it from what it
        reads. That t is also read, where later tokens are predicted, is in the losses of those. The
        sum over t is the example's score. With `of="query"` t is a token of q in place of n.

        Takes a forward and backward pass over the text per token and checkpoint, so it is for a few
        examples, such as the strongest of a query.

        Args:
            inputs: the queries, as for `influence`.
            indices: places of training examples: (E,) for all queries alike, or (Q, K) for each
                query its own, such as the `indices` of top-k.
            of: whether tokens of training examples are told apart, or of queries.
            show_progress: whether a bar is shown, on stderr.

        Returns:
            on the CPU: scores, the tokens' labels, and the training examples; S is the length of
            the longest text.

        Raises:
            InputError: the estimator's task is no sum over tokens (`headwater.tasks.TokenTask`),
                its training data is a stream or a store, or `indices` has no such examples.
        """
        parts: Any = getattr(self, "_streamed", None)
        if parts is not None and not parts.quantities.plain:
            raise InputError(
                f"token_influence tells apart the tokens of a sum of products of gradients, which "
                f"the scores of {self.get_name()} are not; make a TracInCP of the dataset"
            )
        if parts is None or names_store(self.influence_src_dataset):
            raise InputError(
                f"token_influence goes through the model with the training examples, which "
                f"{self!r} doesn't; make a TracInCP of the dataset"
            )
        task, batch = self._query_task((inputs,), None)
        return token_influence(parts, task, batch, indices, of=of, show_progress=show_progress)

    @abstractmethod
    def _self_influence(self, show_progress: bool = False) -> Float[Tensor, " N"]:
        """Every training example's self-influence."""

    @abstractmethod
    def _influence(
        self, inputs: tuple[Any, ...], targets: Any = None, show_progress: bool = False
    ) -> Float[Tensor, "Q N"]:
        """All scores, for queries `model(*inputs)`."""

    @abstractmethod
    def _get_k_most_influential(
        self,
        inputs: tuple[Any, ...],
        targets: Any = None,
        k: int = 5,
        proponents: bool = True,
        show_progress: bool = False,
    ) -> KMostInfluentialResults:
        """The k highest or lowest scores of each query."""

    def _as_task(self, loss_fn: Callable[..., Any] | None) -> Task:
        """What is differentiated for a training example."""
        if self._given_task is not None:
            return self._given_task
        if loss_fn is None:
            return MODEL_OUTPUT
        return LossTask(loss_fn, reduction=declared_reduction(loss_fn, batched=self._batched_loss))

    def _examples(self, dataset: Any, batch_size: int | Literal["auto"]) -> TrainingData:
        """A dataset's examples, in batches as this estimator makes them."""
        return TrainingData(dataset, batch_size, self._collation)

    @property
    def _batched_loss(self) -> bool | None:
        """Whether `loss_fn` is expected to reduce over its batch; None leaves it to show it."""
        return False

    def _query_task(self, inputs: tuple[Any, ...], targets: Any) -> tuple[Task, Any]:
        """What is differentiated for a query, and the batch that it reads."""
        given = self._given_task is not None
        refuse_misplaced_queries(inputs, targets, self.model, task_given=given)
        if self._given_task is not None:
            rows = rows_of(inputs[0])
            return self._given_task, inputs[0] if rows is None else self._collation(rows)
        return (self._loss_task if targets is not None else MODEL_OUTPUT), (*inputs, targets)

    def _refuse_odd_arguments(self, inputs: Any, targets: Any, k: int | None) -> None:
        refuse_odd_question(inputs, targets, k, task_given=self._given_task is not None)
