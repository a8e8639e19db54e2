"""What is differentiated: a model and a batch become one loss per example."""

from headwater.tasks.huggingface import CausalLanguageModelling, SequenceClassification
from headwater.tasks.loss import LossTask
from headwater.tasks.output import ModelOutput
from headwater.tasks.task import LossSum, Task

__all__ = [
    "CausalLanguageModelling",
    "LossSum",
    "LossTask",
    "ModelOutput",
    "SequenceClassification",
    "Task",
]
