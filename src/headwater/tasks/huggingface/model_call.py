"""From a batch to the model's keyword arguments, and from what it returns to logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from headwater.errors import BatchError, LossError
from headwater.tasks.batch import describe

if TYPE_CHECKING:
    from torch import nn

HOW_TO_TOKENISE = (
    "tokenise it, dataset.map(lambda rows: tokenizer(rows[...], truncation=True), batched=True), "
    "and pass collate_fn=transformers.DataCollatorWithPadding(tokenizer)"
)


# Collators of transformers rename the first two to the third. None is for the model to read here.
LABELS = frozenset({"label", "label_ids", "labels"})


def is_text(value: Any) -> bool:
    """Whether an entry of a row or batch is a text, or a list of them, also of a list in a list."""
    if isinstance(value, (list, tuple)):
        return bool(value) and all(is_text(part) for part in value)
    return isinstance(value, (str, bytes))


def model_inputs(model: nn.Module, batch: Any, labels: str) -> dict[str, Any]:
    """The model's keyword arguments: all of the batch but its labels and its texts.

    Without the labels, since the model would compute a mean loss of its own; and without the
    cache, which serves generation and would only cost memory here.

    Raises:
        BatchError: the batch is no mapping, isn't tokenised, or wasn't collated into tensors.
    """
    if not isinstance(batch, Mapping):
        raise BatchError(
            f"a batch is {describe(batch)}; a mapping is expected whose entries are the model's "
            f"keyword arguments, with the labels under {labels!r}"
        )
    others = {key: value for key, value in batch.items() if key not in {*LABELS, labels}}
    inputs = {key: value for key, value in others.items() if not is_text(value)}
    if others and not inputs:
        raise BatchError(
            f"a batch has texts under {', '.join(map(repr, others))} and nothing that a model "
            f"reads: the dataset isn't tokenised; {HOW_TO_TOKENISE}"
        )
    for key, value in inputs.items():
        if isinstance(value, (list, tuple)):
            raise BatchError(
                f"entry {key!r} of a batch is a {type(value).__name__} of {len(value)}; expected a "
                f"tensor with a row per example: pass collate_fn=..., a collator such as "
                f"transformers.DataCollatorWithPadding(tokenizer), to the estimator, or to the "
                f"DataLoader if the data is one"
            )
    if hasattr(getattr(model, "config", None), "use_cache"):
        inputs.setdefault("use_cache", False)
    return inputs


def logits_of(model: nn.Module, inputs: Mapping[str, Any]) -> Tensor:
    """The logits of `model(**inputs)`, in float32 at least, as the models' own losses have them.

    Raises:
        LossError: the model returns neither a tuple that begins with them nor a `logits`.
    """
    output = model(**inputs)
    logits = (
        output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    )
    if logits is None and isinstance(output, tuple) and output:
        logits = output[0]
    if not isinstance(logits, Tensor):
        raise LossError(
            f"the model returned a {type(output).__name__} without a tensor `logits`; for other "
            f"outputs write a headwater.Task of your own (one method, `losses`)"
        )
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
