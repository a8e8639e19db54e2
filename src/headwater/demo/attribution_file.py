"""The demo's run as a file for the command `headwater`, to ask on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headwater.demo.settings import Settings


def attribution_file(settings: Settings) -> str:
    """The Python file that says what model, data, loss and checkpoints a run of the demo had."""
    chosen = "".join(f"    {name}={value!r},\n" for name, value in vars(settings).items())
    return f'''\
"""The demo's run, for the command `headwater`; `headwater init` explains the names."""

from pathlib import Path

from torch import nn
from torch.utils.data import TensorDataset

from headwater.demo.data import noisy_digits
from headwater.demo.model import small_cnn
from headwater.demo.settings import Settings

SETTINGS = Settings(
{chosen})
DATA = noisy_digits(SETTINGS)

checkpoints = Path(__file__).parent / "checkpoints"
loss_fn = nn.CrossEntropyLoss(reduction="none")
report_options = {{
    "title": "headwater demo: digits with flipped labels",
    "truth": "true_label",
}}


def model():
    return small_cnn(SETTINGS.training_seed)


def train_dataset():
    return DATA.train_set


def train_columns():
    return {{"label": DATA.given_labels, "true_label": DATA.true_labels, "flipped": DATA.flipped}}


def query_dataset():
    return TensorDataset(DATA.test_images, DATA.test_labels)


def query_columns():
    return {{"label": DATA.test_labels}}
'''
