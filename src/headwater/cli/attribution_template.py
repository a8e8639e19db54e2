"""A training run, as the command `headwater` needs to know it.

It works as it is, on scikit-learn's handwritten digits (pip install 'headwater[demo]'):

    python attribution.py                      # trains, and leaves checkpoints behind
    headwater check attribution.py             # are scores exact for this model? what will it cost?
    headwater self-influence attribution.py    # wrong labels, outliers and rare cases first
    headwater influence attribution.py --queries 0:3    # what is behind these predictions?
    headwater evaluate attribution.py          # which method is right? by training again

Then put your own in place of the digits. A name that is a function here may be a value as well.
"""

from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from headwater.evaluation import Recipe

HERE = Path(__file__).parent

# --- What every command needs ---------------------------------------------------------------------


def model() -> nn.Module:
    """The architecture. Its weights don't matter: each checkpoint brings its own."""
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def train_dataset() -> TensorDataset:
    """What the model was trained on, always in the same order, without augmentation.

    A Dataset of (inputs..., target), or a DataLoader of batches that doesn't shuffle. The model is
    called as model(*inputs).
    """
    images, labels = digits()
    return TensorDataset(images[:1500], labels[:1500])


# The loss that training minimised. Best with one number per example, reduction="none"; "mean" and
# "sum" are taken apart into the same. For batches that are dicts, as Hugging Face models take them:
# task = headwater.tasks.SequenceClassification() in place of loss_fn.
loss_fn = nn.CrossEntropyLoss(reduction="none")

# A folder of checkpoints, a list of paths, or a list of (path, learning rate). A file is what
# torch.save makes of {"model": model.state_dict(), "learning_rate": 0.1}, or of a bare state dict.
checkpoints = HERE / "run"

# Only where the files hold no learning rate: one per checkpoint.
# learning_rates = [0.1, 0.1, 0.1, 0.1]

# --- What is asked about: for `influence`, `check` and `store query` ------------------------------


def query_dataset() -> TensorDataset:
    """Examples like those of train_dataset(), such as those that the model gets wrong."""
    images, labels = digits()
    return TensorDataset(images[1500:], labels[1500:])


# --- For `apply --retrain`: did cleaning help? It needs train(dataset, seed), too, see below ------


def held_out_dataset() -> TensorDataset:
    """Examples that training doesn't see, with labels that can be trusted."""
    return query_dataset()


# --- For `evaluate`, which trains on parts of the data to judge scores ----------------------------

# The run of train(dataset, seed), see below, in numbers, by which many models are trained at once.
# Without it, that function is called, for one model after the other.
training = Recipe(epochs=12, batch_size=32, learning_rate=0.1)

# --- What tables show beside the scores: none of it is needed -------------------------------------


def train_columns() -> dict[str, list[int]]:
    """A list per column, with one entry per training example.

    The column "id" holds your own names of them. `--by label` adds up over the other columns.
    """
    return {"label": digits()[1][:1500].tolist()}


def query_columns() -> dict[str, list[int]]:
    """The same, of query_dataset()."""
    return {"label": digits()[1][1500:].tolist()}


# How `headwater report` shows the data; see its --help.
report_options = {"kind": "images", "title": "scikit-learn's digits"}

# --- Settings: remove the # of those that you want ------------------------------------------------

# layers = ["2"]                # only these layers or parameters count, by their dotted names
# final_layer = "2"             # only the last layer, at about a forward pass's cost (TracInCPFast)
# batch_size = 64               # examples at a time; without it, what fits memory and cache
# memory_budget = "2GB"         # beside model and batch; without it, a quarter of what is free
# projection = headwater.Projected(512, seed=0)     # estimates from 512 numbers per gradient
# def checkpoints_load_func(model, checkpoint): ...    # loads other formats, returns the rate

# --- How the example is trained: plain SGD, and a checkpoint every few epochs ---------------------


def digits() -> tuple[Tensor, Tensor]:
    """1,797 images of 8 x 8 pixels, each as a row of 64 grey values, and what they show."""
    images, labels = load_digits(return_X_y=True)
    return torch.as_tensor(images).float() / 16, torch.as_tensor(labels)


def train(dataset: TensorDataset, seed: int = 0, folder: Path | None = None) -> nn.Module:
    """A model trained on a dataset, which is what `headwater apply --retrain` asks for.

    With a folder, checkpoints are left in it. Those early on say most: a model that has fitted its
    data has small gradients.
    """
    torch.manual_seed(seed)
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for epoch in range(1, 13):
        for inputs, targets in DataLoader(dataset, batch_size=32, shuffle=True):
            optimizer.zero_grad()
            loss_fn(net(inputs), targets).mean().backward()
            optimizer.step()
        if folder is not None and epoch % 3 == 0:
            folder.mkdir(exist_ok=True)
            saved = {"model": net.state_dict(), "learning_rate": 0.1}
            torch.save(saved, folder / f"epoch-{epoch}.pt")
            print(f"wrote {folder.name}/epoch-{epoch}.pt")
    return net


if __name__ == "__main__":
    train(train_dataset(), folder=checkpoints)
