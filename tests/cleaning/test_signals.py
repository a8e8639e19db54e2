"""Every signal against something obviously right, in float64, at checkpoints of unequal rates."""

import math

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from headwater.cleaning import find_suspects
from headwater.cleaning.chosen import chosen
from headwater.cleaning.combined import combined, ranks
from headwater.cleaning.neighbours import conflicting_twins, nearest
from headwater.cleaning.probe import _PENALTIES, left_out_probe

N, CLASSES = 23, 3
LOSS = nn.CrossEntropyLoss(reduction="none")


def net():
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, CLASSES)).double()


@pytest.fixture(scope="module")
def case():
    torch.manual_seed(0)
    x, y = torch.randn(N, 5).double(), torch.arange(N) * 7 % CLASSES
    model = net()
    checkpoints = [(net().state_dict(), rate) for rate in (0.3, 0.07, 0.2)]
    data = TensorDataset(x, y)
    return (
        model,
        x,
        y,
        checkpoints,
        find_suspects(model, data, checkpoints, loss_fn=LOSS, batch_size=3, neighbours=4),
    )


def test_signals_of_the_model_are_means_over_the_chosen_checkpoints(case):
    model, x, y, checkpoints, suspects = case
    places = [int(name.split()[-1]) for name in suspects.checkpoints]
    assert places == [0, 1, 2]
    expected = {"loss": [0.0] * N, "margin": [0.0] * N, "self_influence": [0.0] * N}
    for c, (state, rate) in enumerate(checkpoints):
        model.load_state_dict(state)
        for n in range(N):
            logits = model(x[n])
            logs = [float(v) for v in logits.detach().log_softmax(0)]
            model.zero_grad()
            nn.functional.cross_entropy(logits, y[n]).backward()
            own = logs[int(y[n])]
            other = max(v for k, v in enumerate(logs) if k != y[n])
            expected["loss"][n] -= own / 3
            expected["margin"][n] -= (own - other) / 3
            squares = sum(float((p.grad**2).sum()) for p in model.parameters())
            expected["self_influence"][n] += rate * squares
            assert float(suspects.confidence[c, n]) == pytest.approx(math.exp(own))
            assert int(suspects.predicted[c, n]) == int(logits.argmax())
    for name, values in expected.items():
        assert suspects.signals[name].tolist() == pytest.approx(values, rel=1e-9)


def test_neighbours_are_the_nearest_others_by_angle(case):
    _, x, y, _, _ = case
    rows = (x - x.mean(0)).float()
    near = nearest(rows, 4)
    for n in range(N):
        cosines = [
            float(rows[n] @ rows[m] / rows[n].norm() / rows[m].norm()) if m != n else -9
            for m in range(N)
        ]
        best = sorted(range(N), key=lambda m: -cosines[m])[:4]
        assert near.indices[n].tolist() == best
        share = sum(int(y[m]) == int(y[n]) for m in best) / 4
        votes = near.votes(y, CLASSES)[n]
        assert float(votes[y[n]]) == pytest.approx(share)
        assert float(votes.sum()) == pytest.approx(1)


def test_the_probe_is_what_a_fit_without_the_example_says(case):
    _, x, y, _, _ = case
    rows = torch.cat([x, torch.ones(N, 1).double()], dim=1)
    wanted = nn.functional.one_hot(y, CLASSES).double()
    scale = float((rows**2).sum(0).mean())

    def refitted(share):
        found = []
        for n in range(N):
            rest = [m for m in range(N) if m != n]
            a = rows[rest].T @ rows[rest] + share * scale * torch.eye(6).double()
            found.append(rows[n] @ torch.linalg.solve(a, rows[rest].T @ wanted[rest]))
        return torch.stack(found)

    fits = [refitted(share) for share in _PENALTIES]
    best = min(fits, key=lambda fit: float((fit - wanted).square().sum())).clamp(1e-6, 1)
    expected = best / best.sum(dim=1, keepdim=True)
    assert torch.allclose(left_out_probe(x, y, CLASSES).double(), expected, atol=1e-6)


def test_ranks_of_equals_are_their_mean():
    assert ranks(torch.tensor([5.0, 1.0, 5.0, 0.0, 9.0])).tolist() == [0.625, 0.25, 0.625, 0, 1]


def test_signals_of_one_kind_have_one_voice():
    up, down = torch.arange(5.0), -torch.arange(5.0)
    score = combined({"loss": up, "margin": up, "self_influence": up * 3, "neighbours": down})
    assert score.tolist() == [0.5] * 5
    assert combined({"probe": down}).tolist() == [1, 0.75, 0.5, 0.25, 0]


def test_twins_are_near_duplicates_under_another_label():
    torch.manual_seed(1)
    rows = torch.randn(8, 6)
    rows[5] = rows[2] * 1.001
    rows[7] = rows[3] * 1.001
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 0])
    found = conflicting_twins(nearest(rows, 3), labels, at_least=0.99)
    assert found.tolist() == [-1, -1, 5, -1, -1, 2, -1, -1]


def test_checkpoints_where_the_model_agrees_with_others_are_chosen():
    agreements = torch.tensor([0.2, 0.6, 0.9, 0.91, 0.9, 0.89, 0.7])
    names = [f"ckpt-{n}" for n in range(7)]
    places, reason = chosen(agreements, names, 8, 1000)
    assert places == [2, 3, 4]
    assert "ckpt-2, ckpt-3, ckpt-4" in reason
    assert chosen(agreements, names, 2, 1000)[0] == [2, 4]
    assert chosen(agreements, names, 1, 1000)[0] == [3]
    assert chosen(agreements, names, 8, 10**8)[0] == [2, 3, 4]
