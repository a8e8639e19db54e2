"""What is recorded is what an update was taken from, and training is as without a recorder."""

import gc

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from headwater import (
    CheckpointRecorder,
    CheckpointSeries,
    HeadwaterWarning,
    InputError,
    LearningRateError,
    RecordingError,
    default_checkpoints_load_func,
)
from tests.estimators.small import Small, model
from tests.estimators.snapshot import differences, snapshot

from .training import plain_loop, recorded_loop, sgd, two_groups


def test_weights_and_rates_are_those_right_before_each_update(tmp_path):
    recorded_loop(tmp_path / "run", 7, optimizer_of=two_groups)
    _, history = plain_loop(7, optimizer_of=two_groups)
    series = CheckpointSeries.open(tmp_path / "run")
    assert series.steps == list(range(7))
    assert [list(rates) for rates in series.rates] == [before.rates for before in history]
    assert len({before.rates[0] for before in history}) == 7
    for checkpoint, before in zip(series, history, strict=True):
        saved = load_file(checkpoint)
        assert saved.keys() == before.state.keys()
        assert all(torch.equal(saved[key], before.state[key]) for key in saved)


def test_every_says_which_updates(tmp_path):
    recorded_loop(tmp_path / "run", 8, every=3)
    assert CheckpointSeries.open(tmp_path / "run").steps == [0, 3, 6]


def test_losses_are_means_of_those_noted_since_the_checkpoint_before(tmp_path):
    recorded_loop(tmp_path / "run", 8, every=3)
    losses = [before.loss for before in plain_loop(8)[1]]
    expected = [losses[0], sum(losses[1:4]) / 3, sum(losses[4:7]) / 3]
    assert CheckpointSeries.open(tmp_path / "run").losses == pytest.approx(expected, rel=1e-12)


def test_without_losses_there_are_none(tmp_path):
    recorded_loop(tmp_path / "run", 3, noted=False)
    assert CheckpointSeries.open(tmp_path / "run").losses == [None, None, None]


@pytest.mark.parametrize("value", [2.5, 2, torch.tensor(2.5), torch.tensor([2.5])])
def test_a_loss_may_be_a_number_or_a_tensor_of_one(tmp_path, value):
    net = model()
    optimizer = sgd(net)
    with CheckpointRecorder(tmp_path / "run", net, optimizer, every=1) as recorder:
        recorder.note_loss(value)
        optimizer.step()
    assert CheckpointSeries.open(tmp_path / "run").losses == [float(value)]


def test_a_loss_that_is_not_finite_is_recorded_as_such(tmp_path):
    net = model()
    optimizer = sgd(net)
    with CheckpointRecorder(tmp_path / "run", net, optimizer, every=1) as recorder:
        for loss in (float("nan"), float("inf")):
            recorder.note_loss(loss)
            optimizer.step()
    assert list(map(str, CheckpointSeries.open(tmp_path / "run").losses)) == ["nan", "inf"]


def test_a_noted_loss_holds_no_graph(tmp_path):
    net = model()
    with CheckpointRecorder(tmp_path / "run", net, sgd(net), every=1) as recorder:
        recorder.note_loss(net.fc1.weight.sum())
        assert not recorder._mean_loss._sum.requires_grad


def test_training_goes_as_without_a_recorder(tmp_path):
    alone, _ = plain_loop(9)
    state = torch.get_rng_state()
    recorded = recorded_loop(tmp_path / "run", 9, every=2, keep=3, moments=True)
    assert torch.equal(torch.get_rng_state(), state)
    for key, value in alone.state_dict().items():
        assert torch.equal(value, recorded.state_dict()[key])


def test_model_optimizer_and_process_are_left_alone(tmp_path):
    net = model().train()
    net.fc.eval()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0, momentum=0.5)
    net(torch.ones(2, 5).double()).sum().backward()
    gc.collect()
    before, settings = snapshot(net), optimizer.state_dict()
    with CheckpointRecorder(tmp_path / "run", net, optimizer, every=1, moments=True) as recorder:
        recorder.note_loss(1.5)
        recorder._before_update()
        assert differences(before, snapshot(net)) == []
        assert optimizer.state_dict() == settings
    assert not optimizer._optimizer_step_pre_hooks


def test_tied_weights_are_written_once_and_come_back_tied(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(6, 4)
            self.head = nn.Linear(4, 6, bias=False)
            self.head.weight = self.embed.weight

    net = Tied()
    optimizer = sgd(net)
    with CheckpointRecorder(tmp_path / "run", net, optimizer, every=1):
        optimizer.step()
    (checkpoint,) = CheckpointSeries.open(tmp_path / "run")
    assert list(load_file(checkpoint)) == ["embed.weight"]
    assert checkpoint.groups[0].parameters == ("embed.weight", "head.weight")
    other = Tied()
    assert default_checkpoints_load_func(other, checkpoint) == 0.3
    assert torch.equal(other.head.weight, net.head.weight)


def test_tensors_that_share_memory_or_have_gaps_are_written(tmp_path):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            whole = torch.arange(12.0).reshape(3, 4)
            self.w = nn.Parameter(torch.arange(6.0).reshape(2, 3).T)
            self.register_buffer("first", whole[:2])
            self.register_buffer("overlapping", whole[1:])
            self.register_buffer("none", torch.empty(0))
            self.register_buffer("number", torch.tensor(7))

    net = Odd()
    optimizer = sgd(net)
    with CheckpointRecorder(tmp_path / "run", net, optimizer, every=1):
        optimizer.step()
    (checkpoint,) = CheckpointSeries.open(tmp_path / "run")
    saved = load_file(checkpoint)
    assert all(torch.equal(saved[key], value) for key, value in net.state_dict().items())


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda net: torch.compile(net, backend="eager")])
def test_wrappers_are_seen_through(tmp_path, wrap):
    net = model()
    optimizer = sgd(net)
    with CheckpointRecorder(tmp_path / "run", wrap(net), optimizer, every=1):
        optimizer.step()
    (checkpoint,) = CheckpointSeries.open(tmp_path / "run")
    assert load_file(checkpoint).keys() == net.state_dict().keys()
    assert set(checkpoint.groups[0].parameters) == set(dict(net.named_parameters()))


def test_an_optimizer_inside_of_another_is_found(tmp_path):
    class Wrapper(torch.optim.Optimizer):
        def __init__(self, optimizer):
            self.optimizer = optimizer

        def step(self):
            self.optimizer.step()

    net = model()
    wrapper = Wrapper(Wrapper(sgd(net)))
    with CheckpointRecorder(tmp_path / "run", net, wrapper, every=1):
        wrapper.step()
    assert CheckpointSeries.open(tmp_path / "run")[0].optimizer == "SGD"


def test_only_updates_count_where_gradients_are_accumulated(tmp_path):
    net = model()
    optimizer = sgd(net)
    with CheckpointRecorder(tmp_path / "run", net, optimizer, every=1) as recorder:
        for batch in range(6):
            recorder.note_loss(float(batch))
            if batch % 3 == 2:
                optimizer.step()
    series = CheckpointSeries.open(tmp_path / "run")
    assert (series.steps, series.losses) == ([0, 1], [1.0, 4.0])


def test_an_update_that_mixed_precision_skips_is_none(tmp_path):
    net = model()
    optimizer = sgd(net)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    with CheckpointRecorder(tmp_path / "run", net, optimizer, every=1):
        for factor in (1.0, float("inf"), 1.0):
            optimizer.zero_grad()
            scaler.scale(net(torch.ones(2, 5).double()).sum() * factor).backward()
            scaler.step(optimizer)
            scaler.update()
    assert CheckpointSeries.open(tmp_path / "run").steps == [0, 1]


def test_an_optimizer_that_is_no_longer_used_is_noticed(tmp_path):
    net = model()
    optimizer = sgd(net)
    recorder = CheckpointRecorder(tmp_path / "run", net, optimizer, every=1)
    for _ in range(3):
        recorder.note_loss(0.5)
        optimizer.step()
    another = sgd(net)
    for _ in range(11):
        recorder.note_loss(0.5)
        another.step()
    with pytest.warns(
        HeadwaterWarning, match=r"11 losses .* since the last update .*SGD.*\(update 3\).*start=3"
    ):
        recorder.close()


def test_the_last_batches_of_an_epoch_need_no_update(tmp_path):
    net = model()
    optimizer = sgd(net)
    with CheckpointRecorder(tmp_path / "run", net, optimizer, every=1) as recorder:
        for batch in range(1, 12):
            recorder.note_loss(0.5)
            if batch % 4 == 0:
                optimizer.step()


def test_an_exception_in_the_loop_comes_through_as_it_is(tmp_path):
    net = model()

    def failing():
        with CheckpointRecorder(tmp_path / "run", net, sgd(net), every=1) as recorder:
            for _ in range(20):
                recorder.note_loss(0.5)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        failing()
    CheckpointRecorder(tmp_path / "run", net, sgd(net), every=1).close()


def test_groups_may_be_added_in_the_course_of_training(tmp_path):
    net = model()
    optimizer = torch.optim.SGD(net.fc.parameters(), lr=0.3)
    with CheckpointRecorder(tmp_path / "run", net, optimizer, every=1):
        optimizer.step()
        optimizer.add_param_group({"params": net.fc1.parameters(), "lr": 0.07})
        optimizer.step()
        optimizer.step()
    series = CheckpointSeries.open(tmp_path / "run")
    assert series.rates == [(0.3,), (0.3, 0.07), (0.3, 0.07)]
    assert [len(c.groups) for c in series] == [1, 2, 2]
    assert series[2].groups[1].parameters == ("fc1.weight", "fc1.bias")


def test_hyperparameters_are_those_of_each_update(tmp_path):
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=torch.tensor(0.25), weight_decay=0.01)
    with CheckpointRecorder(tmp_path / "run", net, optimizer, every=1):
        optimizer.step()
        optimizer.param_groups[0]["weight_decay"] = 0.02
        optimizer.param_groups[0]["of my own"] = object()
        optimizer.step()
    series = CheckpointSeries.open(tmp_path / "run", rates="recorded")
    assert [c.groups[0].settings["weight_decay"] for c in series] == [0.01, 0.02]
    assert series.rates == [(0.25,), (0.25,)]
    assert series[1].groups[0].settings["nesterov"] is False
    assert "of my own" not in series[1].groups[0].settings


def momenta(net):
    return torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)


def adam(net):
    return torch.optim.Adam(net.parameters(), lr=0.1, betas=(0.8, 0.95))


@pytest.mark.parametrize(
    ("make", "kinds"), [(momenta, {"momentum_buffer"}), (adam, {"exp_avg", "exp_avg_sq", "step"})]
)
def test_moments_are_those_right_before_the_update(tmp_path, make, kinds):
    recorded_loop(tmp_path / "run", 3, optimizer_of=make, moments=True)
    # A loop of one step less ends right before the last update.
    net = model().train()
    optimizer = make(net)
    recorded_loop(tmp_path / "other", 2, optimizer_of=lambda _: optimizer, net=net)
    series = CheckpointSeries.open(tmp_path / "run", rates="recorded")
    assert series[0].moments() == {}
    moments = series[2].moments()
    assert moments.keys() == kinds
    for name, parameter in net.named_parameters():
        for kind in kinds:
            assert torch.equal(moments[kind][name], optimizer.state[parameter][kind])
    if make is adam:
        assert series[2].groups[0].settings["betas"] == [0.8, 0.95]


def test_moments_that_were_not_asked_for_are_not_there(tmp_path):
    recorded_loop(tmp_path / "run", 1)
    with pytest.raises(RecordingError, match=r"without the optimizer's moments.*moments=True"):
        CheckpointSeries.open(tmp_path / "run")[0].moments()


def test_state_that_is_no_tensor_is_warned_of(tmp_path):
    class Extra(Small):
        def get_extra_state(self):
            return {"seen": 3}

        def set_extra_state(self, state):
            pass

    net = Extra().double()
    with (
        pytest.warns(HeadwaterWarning, match=r"'_extra_state' .* is no tensor; it isn't recorded"),
        CheckpointRecorder(tmp_path / "run", net, sgd(net), every=1),
    ):
        pass


def test_nothing_is_recorded_after_closing(tmp_path):
    net = model()
    optimizer = sgd(net)
    recorder = CheckpointRecorder(tmp_path / "run", net, optimizer, every=1)
    optimizer.step()
    assert "before update 1, 1 checkpoints" in repr(recorder)
    recorder.close()
    recorder.close()
    optimizer.step()
    assert CheckpointSeries.open(tmp_path / "run").steps == [0]
    assert "closed" in repr(recorder)
    with pytest.raises(InputError, match="the recorder is closed"):
        recorder.note_loss(0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every is 0; expected an int of at least 1"),
        ({"every": 2.0}, "every is 2.0"),
        ({"every": True}, "every is True"),
        ({"keep": 1}, "keep is 1; expected an int of at least 2"),
        ({"start": -1}, "start is -1"),
        ({"folder": None}, "folder is a NoneType; expected a path"),
        ({"model": "net"}, r"model is a str; expected a torch\.nn\.Module"),
        ({"optimizer": 0.1}, r"optimizer is a float; expected a torch\.optim\.Optimizer"),
    ],
)
def test_odd_arguments_are_refused(tmp_path, options, message):
    net = model()
    arguments = {"folder": tmp_path / "run", "model": net, "optimizer": sgd(net), "every": 1}
    with pytest.raises(InputError, match=message):
        CheckpointRecorder(**{**arguments, **options})
    assert not (tmp_path / "run").exists()


def test_an_optimizer_of_another_model_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"\(SGD\) has none of the parameters of the model"):
        CheckpointRecorder(tmp_path / "run", model(), sgd(model()), every=1)


def test_an_optimizer_without_a_rate_is_refused(tmp_path):
    net = model()
    optimizer = sgd(net)
    del optimizer.param_groups[0]["lr"]
    with pytest.raises(LearningRateError, match="parameter group 0 of SGD has learning rate None"):
        CheckpointRecorder(tmp_path / "run", net, optimizer, every=1)


def test_tensors_that_no_file_can_hold_are_refused(tmp_path):
    net = model()
    net.register_buffer("graph", torch.eye(3).to_sparse())
    with pytest.raises(InputError, match=r"'graph' is a Tensor of layout torch\.sparse_coo"):
        CheckpointRecorder(tmp_path / "run", net, sgd(net), every=1)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (torch.ones(3), r"loss is a tensor of shape \(3,\); expected .* loss\.mean\(\)"),
        ("0.3", "loss is a str; expected a number"),
    ],
)
def test_a_loss_that_is_no_number_is_refused(tmp_path, loss, message):
    net = model()
    with (
        CheckpointRecorder(tmp_path / "run", net, sgd(net), every=1) as recorder,
        pytest.raises(InputError, match=message),
    ):
        recorder.note_loss(loss)
