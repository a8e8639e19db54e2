"""Tasks for models in the style of Hugging Face: dict batches in, an object with logits out."""

from headwater.tasks.huggingface.causal_lm import CausalLanguageModelling
from headwater.tasks.huggingface.seq2seq_lm import Seq2SeqLanguageModelling
from headwater.tasks.huggingface.sequence_classification import SequenceClassification
from headwater.tasks.huggingface.task import HuggingFaceTask
from headwater.tasks.huggingface.token_classification import TokenClassification
from headwater.tasks.huggingface.token_task import TokenTask

__all__ = [
    "CausalLanguageModelling",
    "HuggingFaceTask",
    "Seq2SeqLanguageModelling",
    "SequenceClassification",
    "TokenClassification",
    "TokenTask",
]
