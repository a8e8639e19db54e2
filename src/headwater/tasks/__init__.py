"""What is differentiated: a model and a batch become one loss per example."""

from headwater.tasks.autocast import Autocast
from headwater.tasks.huggingface import (
    CausalLanguageModelling,
    HuggingFaceTask,
    Seq2SeqLanguageModelling,
    SequenceClassification,
    TokenClassification,
    TokenTask,
)
from headwater.tasks.log_odds import LogOdds
from headwater.tasks.loss import LossTask
from headwater.tasks.output import ModelOutput
from headwater.tasks.task import LossSum, Task

__all__ = [
    "Autocast",
    "CausalLanguageModelling",
    "HuggingFaceTask",
    "LogOdds",
    "LossSum",
    "LossTask",
    "ModelOutput",
    "Seq2SeqLanguageModelling",
    "SequenceClassification",
    "Task",
    "TokenClassification",
    "TokenTask",
]
