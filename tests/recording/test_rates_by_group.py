"""Parameter groups with rates of their own: each parameter is weighed by its own, or it is said."""

import pytest
import torch
from torch import Tensor, nn

from headwater import (
    CheckpointRecorder,
    CheckpointSeries,
    GradientStore,
    LearningRateError,
    Projected,
    StoreMismatchError,
    TracInCP,
    TracInCPFast,
    TracInCPFastRandProj,
    default_checkpoints_load_func,
)
from tests.estimators.small import (
    QUERIES,
    TRAINING,
    assert_close,
    cross_entropy,
    loss_of_one,
    make,
    model,
    singles,
)
from tests.oracles import tracin

from .training import plain_loop, recorded_loop, two_groups

STEPS = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("groups") / "run"
    recorded_loop(folder, STEPS, optimizer_of=two_groups)
    return folder


def groups_of(net):
    """By parameter, the place of its group."""
    places = {}
    for place, group in enumerate(two_groups(net).param_groups):
        for name, parameter in net.named_parameters():
            if any(parameter is p for p in group["params"]):
                places[name] = place
    return places


def expected(names=None, *, self_influence=False) -> Tensor:
    """The oracle's sum over parameters, one at a time, each by its own rate."""
    net = model()
    places = groups_of(net)
    _, history = plain_loop(STEPS, optimizer_of=two_groups)
    rows, total = singles(*TRAINING), 0
    for name in names or tracin.trainable_names(net):
        checkpoints = [(before.state, before.rates[places[name]]) for before in history]
        if self_influence:
            total += tracin.self_influence(net, checkpoints, loss_of_one, rows, [name])
        else:
            queries = singles(*QUERIES)
            total += tracin.influence_scores(net, checkpoints, loss_of_one, rows, queries, [name])
    return total


def estimator(folder, kind=TracInCP, **options):
    return make(kind, checkpoints=folder, learning_rates=None, **options)


def test_each_parameter_is_weighed_by_its_own_rate(folder):
    tracin_cp = estimator(folder)
    assert_close(tracin_cp.influence(*QUERIES), expected())
    assert_close(tracin_cp.influence(), expected(self_influence=True))
    top = tracin_cp.influence(*QUERIES, k=3)
    assert_close(top.influence_scores, tracin.top_k(expected(), 3)[1])


def test_scores_do_not_depend_on_the_order_of_the_loops(folder):
    tracin_cp = estimator(CheckpointSeries.open(folder), memory_budget=1)
    assert_close(tracin_cp.influence(*QUERIES), expected())


def test_a_bias_at_another_rate_than_its_weight_is_told_apart(folder):
    names = ["fc1.weight", "fc1.bias"]
    assert_close(estimator(folder, layers=["fc1"]).influence(*QUERIES), expected(names))


@pytest.mark.parametrize("layer", ["fc", "fc1"])
def test_a_selection_has_the_rates_of_its_own_groups(folder, layer):
    names = [f"{layer}.weight", f"{layer}.bias"]
    assert_close(estimator(folder, layers=[layer]).influence(*QUERIES), expected(names))
    if layer == "fc":
        fast = estimator(folder, TracInCPFast, final_fc_layer="fc")
        assert_close(fast.influence(*QUERIES), expected(names))
        vectors = estimator(folder, TracInCPFastRandProj, final_fc_layer="fc")
        assert_close(vectors.influence(*QUERIES), expected(names))


def test_vectors_of_the_final_layer_have_both_rates_in_them(tmp_path):
    def apart(net):
        own = [{"params": [net.fc.bias], "lr": 0.07}, {"params": [net.fc.weight]}]
        return torch.optim.SGD(own, lr=0.3)

    recorded_loop(tmp_path / "run", STEPS, optimizer_of=apart)
    exact = estimator(tmp_path / "run", layers=["fc"])
    vectors = estimator(tmp_path / "run", TracInCPFastRandProj, final_fc_layer="fc")
    assert_close(vectors.influence(*QUERIES), exact.influence(*QUERIES))
    assert_close(vectors.influence(), exact.influence())


MANY = Projected(2**14, seed=3)
"""So many numbers that hardly two entries of a gradient share one."""


def assert_estimated(got, exact):
    assert float((got - exact).abs().max()) < 0.03 * float(exact.abs().max())


def test_projections_estimate_the_weighed_scores(folder):
    projected = estimator(folder, form=MANY)
    assert_estimated(projected.influence(*QUERIES), expected())
    assert_estimated(projected.influence(), expected(self_influence=True))


@pytest.mark.parametrize("form", ["factored", "materialised"])
def test_a_store_keeps_the_weighed_gradients(folder, tmp_path, form):
    store = GradientStore.build(estimator(folder), tmp_path / "store", form=form, dtype="float64")
    assert_close(store.scores(*QUERIES), expected())
    assert_close(store.self_influence(), expected(self_influence=True))
    again = GradientStore.open(tmp_path / "store", estimator(folder))
    assert_close(again.scores(*QUERIES), expected())
    in_place = estimator(folder, influence_src_dataset=tmp_path / "store")
    assert_close(in_place.influence(*QUERIES), expected())


def test_a_projected_store_has_them_too(folder, tmp_path):
    store = GradientStore.build(estimator(folder), tmp_path / "s", form=MANY, dtype="float64")
    assert_estimated(store.scores(*QUERIES), expected())
    assert_estimated(store.self_influence(), expected(self_influence=True))


def test_a_store_of_other_rates_is_refused(folder, tmp_path):
    GradientStore.build(estimator(folder), tmp_path / "store")
    one_rate = make(checkpoints=CheckpointSeries.open(folder), learning_rates=[1.0] * STEPS)
    with pytest.raises(StoreMismatchError, match="'learning_rates': the learning rates differ"):
        GradientStore.open(tmp_path / "store", one_rate)


def test_one_number_is_never_taken_for_several(folder):
    series = CheckpointSeries.open(folder)
    message = (
        r"has several learning rates: 0\.3 for 'fc1\.weight', .* and \d more; 0\.07 for "
        r"'fc\.weight', 'fc\.bias'; 0\.011 for 'fc1\.bias'\. .*layers of one group.*learning_rates="
    )
    with pytest.raises(LearningRateError, match=message):
        default_checkpoints_load_func(model(), series[0])
    # A file by itself says so too.
    with pytest.raises(LearningRateError, match=r"learning rate '0\.3 and 0\.07 and 0\.011'"):
        estimator([series[0].path]).influence()


def test_a_parameter_that_was_not_trained_has_no_rate(tmp_path):
    def head_only(net):
        return torch.optim.SGD(net.fc.parameters(), lr=0.3)

    recorded_loop(tmp_path / "run", 2, optimizer_of=head_only)
    with pytest.raises(
        LearningRateError,
        match=r"no learning rate for 'fc1\.weight', 'fc1\.bias', 'fc10\.weight' and 3 more: not in "
        r"the optimizer, .*didn't move them\. .*requires_grad_\(False\), or layers=",
    ):
        estimator(tmp_path / "run").influence()
    frozen = model()
    for name, parameter in frozen.named_parameters():
        parameter.requires_grad_(name.startswith("fc."))
    by_freezing = estimator(tmp_path / "run", model=frozen).influence()
    assert_close(by_freezing, estimator(tmp_path / "run", layers=["fc"]).influence())
    assert make(checkpoints=tmp_path / "run", learning_rates=[0.3, 0.07]).influence().shape == (7,)


def test_a_table_tied_to_the_head_is_weighed(tmp_path):
    """Its gradient is a sum of two forms, of which both are weighed."""

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(6, 4)
            self.norm = nn.LayerNorm(4)
            self.head = nn.Linear(4, 6, bias=False)
            self.head.weight = self.table.weight

        def forward(self, ids):
            return self.head(self.norm(self.table(ids).mean(dim=1)))

    torch.manual_seed(3)
    net = Tied().double()
    optimizer = torch.optim.SGD(
        [{"params": net.table.parameters()}, {"params": net.norm.parameters(), "lr": 0.07}], lr=0.3
    )
    ids, targets = torch.randint(6, (5, 3)), torch.randint(6, (5,))
    with CheckpointRecorder(tmp_path / "run", net, optimizer, every=1):
        optimizer.step()
    got = TracInCP(
        net,
        torch.utils.data.TensorDataset(ids, targets),
        tmp_path / "run",
        loss_fn=cross_entropy,
        batch_size=2,
    ).influence(ids[:2], targets[:2])
    state, total = dict(net.state_dict()), 0
    for names, rate in ((["table.weight"], 0.3), (["norm.weight", "norm.bias"], 0.07)):
        rows = singles(ids, targets)
        copy = Tied().double()
        total += tracin.influence_scores(copy, [(state, rate)], loss_of_one, rows, rows[:2], names)
    assert_close(got, total)
