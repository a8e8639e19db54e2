"""Suspects of real training sets, of models of several kinds, and what can't be looked through."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from headwater import InputError, TracInCP, TracInCPFast
from headwater.cleaning import apply, find_suspects, retrain, suspects_of
from headwater.tasks import LossTask, SequenceClassification

LOSS = nn.CrossEntropyLoss(reduction="none")
EPOCHS, RATE = 12, 0.2


def mlp():
    return nn.Sequential(nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))


def trained(dataset, seed, checkpoints=None):
    torch.manual_seed(seed)
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    for _ in range(EPOCHS):
        for x, y in DataLoader(dataset, batch_size=20, shuffle=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        if checkpoints is not None:
            checkpoints.append(({k: v.clone() for k, v in model.state_dict().items()}, RATE))
    return model


@pytest.fixture(scope="module")
def digits():
    """500 digits of which 50 have another label: the data, the truth, and a trained model."""
    load_digits = pytest.importorskip("sklearn.datasets").load_digits
    images, labels = map(torch.as_tensor, load_digits(return_X_y=True))
    images = images.float() / 16
    given = labels[:500].clone()
    given[::10] = (given[::10] + 1 + torch.arange(50) % 9) % 10
    data = TensorDataset(images[:500], given)
    held_out = TensorDataset(images[500:900], labels[500:900])
    checkpoints = []
    model = trained(data, 0, checkpoints)
    estimator = TracInCP(model, data, checkpoints, loss_fn=LOSS)
    return data, labels[:500], held_out, estimator, suspects_of(estimator)


def test_flipped_labels_come_first_and_the_right_one_is_suggested(digits):
    _, true, _, _, suspects = digits
    wrong = suspects.labels != true
    assert int(wrong[suspects.ranking[:50]].sum()) >= 42
    assert int(wrong[suspects.ranking[:100]].sum()) >= 48
    flipped = wrong.nonzero().flatten()
    assert int((suspects.suggested[flipped] == true[flipped]).sum()) >= 42
    assert set(suspects.signals) == {"loss", "margin", "self_influence", "neighbours", "probe"}
    for signal in suspects.signals.values():
        assert int(wrong[signal.argsort(descending=True)[:100]].sum()) >= 42


def test_suggested_decisions_make_a_set_with_fewer_wrong_labels_and_a_better_model(digits):
    data, true, held_out, _, suspects = digits
    decisions = suspects.suggested_decisions()
    assert 25 <= len(decisions) <= 60
    cleaned = apply(decisions, data, labels=suspects.labels)
    left = [
        label != true[place] for place, label in zip(cleaned.indices, cleaned.labels, strict=True)
    ]
    assert sum(map(int, left)) <= 25
    rows = cleaned.dataset(data)
    effect = retrain(
        trained, data, rows, held_out, task=LossTask(LOSS, reduction="none"), seeds=range(2)
    )
    assert min(effect.gains) > 0
    assert "above 0 with 2 of 2" in str(effect)


def test_decisions_about_the_first_few_can_be_drops(digits):
    _, _, _, _, suspects = digits
    found = suspects.suggested_decisions(10, decision="drop")
    assert [one.index for one in found] == suspects.ranking[:10].tolist()
    assert found.counts() == {"keep": 0, "relabel": 0, "drop": 10}
    assert found.data == suspects.data


def test_tables_are_in_the_order_of_the_ranking(digits, tmp_path):
    pytest.importorskip("pandas")
    _, _, _, estimator, suspects = digits
    frame = suspects.to_pandas(top=7)
    assert frame["index"].tolist() == suspects.ranking[:7].tolist()
    assert frame["rank"].tolist() == [1, 2, 3, 4, 5, 6, 7]
    suspects.to_csv(tmp_path / "s.csv")
    assert len((tmp_path / "s.csv").read_text().splitlines()) == 501
    with pytest.raises(InputError, match="'margin'"):
        suspects_of(estimator, examples={"margin": [0] * 500})


def test_the_last_layer_and_other_batches_give_the_same_forward_signals(digits):
    data, _, _, estimator, suspects = digits
    loader = DataLoader(data, batch_size=33)
    fast = TracInCPFast(estimator.model, "2", loader, estimator.checkpoints, loss_fn=LOSS)
    found = suspects_of(fast)
    for name in ("loss", "margin", "neighbours", "probe"):
        assert torch.allclose(found.signals[name], suspects.signals[name], atol=1e-4)
    assert bool(
        (found.signals["self_influence"] <= suspects.signals["self_influence"] + 1e-5).all()
    )


def test_features_of_ones_own_or_none(digits):
    data, _, _, estimator, suspects = digits
    own = suspects_of(estimator, features=data.tensors[0])
    assert torch.allclose(own.signals["neighbours"], suspects.signals["neighbours"])
    without = suspects_of(estimator, features=None)
    assert set(without.signals) == {"loss", "margin", "self_influence"}
    assert "left out" in without.notes[0]
    with pytest.raises(InputError, match=r"expected a row per training example, \(500, D\)"):
        suspects_of(estimator, features=torch.zeros(3, 2))


class Probabilities(nn.Module):
    """Ends in a softmax, for NLLLoss of its logarithm."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x).softmax(dim=1)


def test_one_logit_two_logits_and_probabilities_say_the_same():
    torch.manual_seed(0)
    x, y = torch.randn(30, 4), torch.arange(30) % 2
    one = nn.Linear(4, 1)
    two = nn.Linear(4, 2)
    with torch.no_grad():
        two.weight.copy_(torch.cat([torch.zeros(1, 4), one.weight]))
        two.bias.copy_(torch.cat([torch.zeros(1), one.bias]))

    def binary(out, target):
        return nn.functional.binary_cross_entropy_with_logits(out[:, 0], target, reduction="none")

    def of_probabilities(out, target):
        return nn.functional.nll_loss(out.log(), target, reduction="none")

    found = [
        find_suspects(
            model,
            TensorDataset(x, labels),
            [model.state_dict()],
            loss_fn=loss,
            learning_rates=[1.0],
        )
        for model, labels, loss in (
            (one, y.float(), binary),
            (two, y, LOSS),
            (Probabilities(two), y, of_probabilities),
        )
    ]
    for name in ("loss", "margin"):
        for other in found[1:]:
            assert torch.allclose(found[0].signals[name], other.signals[name], atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_sequence_classifier_of_transformers_is_taken_as_it_is():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=40, hidden_size=12, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=8, num_labels=3,
    )  # fmt: skip
    model = transformers.BertForSequenceClassification(config)
    rows = [{"input_ids": torch.randint(1, 40, (6,)).tolist(), "label": n % 3} for n in range(14)]
    checkpoints = [model.state_dict()]
    found = find_suspects(
        model, rows, checkpoints, task=SequenceClassification(labels="label"), learning_rates=[0.1]
    )
    assert found.labels.tolist() == [n % 3 for n in range(14)]
    assert "penultimate" in found.notes[0]
    model.eval()
    with torch.no_grad():
        logits = model(torch.tensor([rows[5]["input_ids"]])).logits
    assert float(found.signals["loss"][5]) == pytest.approx(
        float(nn.functional.cross_entropy(logits, torch.tensor([2]))), rel=1e-4
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dataset": TensorDataset(torch.randn(6, 4), torch.randn(6))}, "whole numbers"),
        ({"labels": [0, 1, 2, 9, 0, 1]}, "example 3 has the label 9, and the model has 3 classes"),
        ({"labels": [0, 1]}, "one per example"),
        ({"n_checkpoints": 0}, "n_checkpoints is 0"),
        ({"neighbours": 0}, "neighbours is 0"),
        ({"features": "pixels"}, "features is 'pixels'"),
        ({"checkpoints": (pair for pair in [])}, "generator"),
    ],
)
def test_what_cannot_be_meant_is_refused(change, said):
    model = nn.Linear(4, 3)
    arguments = {
        "dataset": TensorDataset(torch.randn(6, 4), torch.arange(6) % 3),
        "checkpoints": [model.state_dict()],
        "learning_rates": [1.0],
        "loss_fn": LOSS,
        **change,
    }
    if "whole" in said:
        arguments["loss_fn"] = lambda out, target: (out[:, 0] - target) ** 2
    with pytest.raises(InputError, match=said):
        find_suspects(model, **arguments)


def test_a_label_per_token_is_refused():
    def loss(out, target):
        return nn.functional.cross_entropy(out, target, reduction="none").sum(1)

    two = nn.Sequential(nn.Linear(4, 6), nn.Unflatten(1, (3, 2)))
    with pytest.raises(InputError, match="one row of logits per example"):
        find_suspects(
            two,
            TensorDataset(torch.randn(6, 4), torch.zeros(6, 2).long()),
            [two.state_dict()],
            loss_fn=loss,
            learning_rates=[1.0],
            labels=[0] * 6,
        )
