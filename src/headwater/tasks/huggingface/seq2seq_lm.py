"""Prediction of one sequence from another, by an encoder and a decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.errors import ModelError
from headwater.tasks.huggingface.labels import labels_of
from headwater.tasks.huggingface.token_task import TokenTask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Int
    from torch import Tensor, nn


class Seq2SeqLanguageModelling(TokenTask):
    """Translation, summaries and the like: an example's loss is the sum over its target's tokens.

    Labels are the target's tokens, with `ignore_index` at those that don't count (padding). What
    the decoder reads is `batch["decoder_input_ids"]` where given, as by transformers'
    `DataCollatorForSeq2Seq(tokenizer, model=model)`; else what the model itself makes of labels,
    which is the labels moved on by one. See `TokenTask` for the arguments.
    """

    def targets(self, batch: Any) -> Int[Tensor, "B S"]:
        return labels_of(batch, self.labels)

    def completed(self, model: nn.Module, batch: Any) -> Mapping[str, Any]:
        return self._with_decoder(model, {**batch}, batch)

    def _with_decoder(
        self, model: nn.Module, inputs: dict[str, Any], batch: Any
    ) -> Mapping[str, Any]:
        given = ("decoder_input_ids", "decoder_inputs_embeds")
        if any(inputs.get(name) is not None for name in given):
            return inputs
        prepare = getattr(model, "prepare_decoder_input_ids_from_labels", None)
        if prepare is None:
            raise ModelError(
                f"{type(model).__name__} has no prepare_decoder_input_ids_from_labels, so the "
                f"batch must say what the decoder reads: decoder_input_ids"
            )
        return {**inputs, "decoder_input_ids": prepare(labels=labels_of(batch, self.labels))}
