"""Weights that `torch.nn.utils.weight_norm` and `spectral_norm` compute are given back."""

import copy
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from headwater import TracInCP


@pytest.mark.parametrize("norm", [nn.utils.weight_norm, nn.utils.spectral_norm])
@pytest.mark.parametrize("kind", [nn.GRU, nn.Linear])
def test_the_computed_weight_is_as_found(kind, norm):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        if kind is nn.GRU:
            layer, name = norm(nn.GRU(5, 3, batch_first=True), "weight_hh_l0"), "weight_hh_l0"
        else:
            layer, name = norm(nn.Linear(5, 3)), "weight"
    layer.eval()

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            out = self.layer(x)
            return (out[0] if isinstance(out, tuple) else out)[:, -1]

    model = Model().eval()
    x = torch.randn(6, 4, 5)
    with torch.no_grad():
        before = model(x)
    weight, value = vars(layer)[name], vars(layer)[name].clone()
    kept = list(vars(layer).get("_flat_weights", []))
    checkpoints = [({key: p + 1 for key, p in model.state_dict().items()}, 0.3)]
    data = TensorDataset(x, torch.tensor([0, 1, 2, 0, 1, 2]))
    loss = nn.CrossEntropyLoss(reduction="none")
    TracInCP(model, data, checkpoints, loss_fn=loss, batch_size=2).influence()
    assert vars(layer)[name] is weight
    assert torch.equal(weight, value)
    assert all(a is b for a, b in zip(vars(layer).get("_flat_weights", []), kept, strict=True))
    copy.deepcopy(layer)
    pickle.dumps(layer)
    with torch.no_grad():
        assert torch.equal(model(x), before)
