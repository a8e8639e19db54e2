"""A recording as a series: what it holds, what it says, and that every estimator takes it."""

import logging
import re
import warnings

import pytest
import torch

from headwater import (
    CheckpointRecorder,
    CheckpointSeries,
    HeadwaterWarning,
    InputError,
    LearningRateError,
    NoCheckpointsError,
    RecordedCheckpoint,
    RecordingNotFoundError,
    TracInCP,
    TracInCPFast,
    default_checkpoints_load_func,
)
from tests.estimators.small import QUERIES, assert_close, loss_of_one, make, model, singles
from tests.estimators.small import TRAINING as training
from tests.oracles import tracin

from .training import plain_loop, recorded_loop, sgd

STEPS = 5


@pytest.fixture
def folder(tmp_path):
    recorded_loop(tmp_path / "run", STEPS, every=2)
    return tmp_path / "run"


def checkpoints_of_a_plain_loop(every=2, weigh=lambda rates: rates[0]):
    _, history = plain_loop(STEPS)
    return [(before.state, weigh(before.rates)) for before in history[::every]]


def expected(checkpoints, *, names=None):
    net = model()
    names = names or tracin.trainable_names(net)
    rows = singles(*training), singles(*QUERIES)
    return tracin.influence_scores(net, checkpoints, loss_of_one, *rows, names)


def scores(checkpoints, kind=TracInCP, **options):
    estimator = make(kind, checkpoints=checkpoints, learning_rates=None, **options)
    return estimator.influence(*QUERIES)


def test_an_estimator_takes_the_series_and_its_rates(folder):
    series = CheckpointSeries.open(folder)
    assert len({rates for (rates,) in series.rates}) == 3
    assert_close(scores(series), expected(checkpoints_of_a_plain_loop()))
    fast = scores(series, TracInCPFast, final_fc_layer="fc")
    assert_close(fast, expected(checkpoints_of_a_plain_loop(), names=["fc.weight", "fc.bias"]))


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_the_folders_path_will_do_without_a_warning(folder, kind):
    assert_close(scores(kind(folder)), expected(checkpoints_of_a_plain_loop()))


def test_a_slice_a_list_and_the_files_themselves_will_do(folder):
    series = CheckpointSeries.open(folder)
    checkpoints = checkpoints_of_a_plain_loop()
    assert isinstance(series[1:], CheckpointSeries)
    assert_close(scores(series[1:]), expected(checkpoints[1:]))
    assert_close(scores([series[2], series[0]]), expected([checkpoints[2], checkpoints[0]]))
    assert_close(scores([str(c.path) for c in series]), expected(checkpoints))
    with pytest.raises(NoCheckpointsError, match="an empty CheckpointSeries"):
        scores(series[5:])


def test_given_rates_win_over_recorded_ones(folder):
    rates = [0.3, 0.07, 0.011]
    given = [
        (state, rate) for (state, _), rate in zip(checkpoints_of_a_plain_loop(), rates, strict=True)
    ]
    for checkpoints in (CheckpointSeries.open(folder), folder):
        estimator = make(checkpoints=checkpoints, learning_rates=rates)
        assert_close(estimator.influence(*QUERIES), expected(given))


def test_a_loader_of_ones_own_gets_paths_in_order(folder):
    got = []

    def load(net, path):
        got.append(path)
        return 2 * default_checkpoints_load_func(net, path)

    doubled = scores(str(folder), checkpoints_load_func=load)
    assert_close(doubled, 2 * expected(checkpoints_of_a_plain_loop()))
    assert got == [str(c.path) for c in CheckpointSeries.open(folder)]


def test_the_default_loader_takes_a_checkpoint_by_itself(folder):
    series = CheckpointSeries.open(folder)
    net = model()
    assert default_checkpoints_load_func(net, series[1]) == series.rates[1][0]
    assert torch.equal(net.fc.bias, checkpoints_of_a_plain_loop()[1][0]["fc.bias"])


def test_a_checkpoint_tells_its_step_loss_and_file(folder):
    checkpoint = CheckpointSeries.open(folder)[1]
    assert isinstance(checkpoint, RecordedCheckpoint)
    losses = [before.loss for before in plain_loop(STEPS)[1]]
    assert checkpoint.step == 2
    assert checkpoint.loss == pytest.approx((losses[1] + losses[2]) / 2)
    assert checkpoint.path == folder / "step-000000002.safetensors"


def test_plain_sgd_needs_no_word(folder):
    series = CheckpointSeries.open(folder)
    assert series.notes == ()
    assert repr(series) == (
        f"CheckpointSeries(3 checkpoints of Small in {folder}, steps 0 to 4, SGD, "
        f"rates 0.214286 to 0.3)"
    )
    assert repr(series[5:]) == f"CheckpointSeries(no checkpoint of Small in {folder})"


def momentum(net):
    return torch.optim.SGD(net.parameters(), lr=0.3, momentum=0.8, dampening=0.1)


def decay(net):
    return torch.optim.SGD(net.parameters(), lr=0.3, weight_decay=0.05)


def adam(net):
    return torch.optim.AdamW(net.parameters(), lr=0.01)


def climbing(net):
    return torch.optim.SGD(net.parameters(), lr=0.3, maximize=True)


class Mine(torch.optim.SGD):
    """An optimizer whose step nobody knows."""


def mine(net):
    return Mine(net.parameters(), lr=0.3)


@pytest.mark.parametrize(
    ("optimizer_of", "sayings"),
    [
        (momentum, [r"Momentum 0\.8 lets each gradient act on .*rates='effective'"]),
        (decay, [r"Weight decay 0\.05 also moves the weights"]),
        (adam, [r"AdamW scales each coordinate .*no single rate", r"Weight decay 0\.01"]),
        (climbing, ["maximize=True climbs"]),
        (mine, [r"How .*Mine makes its step of a gradient isn't known"]),
    ],
)
def test_what_plain_sgd_leaves_out_is_said_once(tmp_path, optimizer_of, sayings):
    folder = tmp_path / "run"
    recorded_loop(folder, 2, optimizer_of=optimizer_of)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        series = CheckpointSeries.open(folder)
        scores(series)
        scores(series)
    assert [w.category for w in caught] == [HeadwaterWarning]
    assert len(series.notes) == len(sayings)
    for note, saying in zip(series.notes, sayings, strict=True):
        assert re.search(saying, note)
        assert note in str(caught[0].message)
        assert f"note: {note}" in repr(series)
        assert note in series[1:].notes
    # A choice that was made needs no warning, nor do rates from elsewhere or a loader of one's own.
    assert CheckpointSeries.open(folder, rates="recorded").notes == series.notes
    make(checkpoints=folder, learning_rates=[0.3, 0.07]).influence()
    scores(folder, checkpoints_load_func=lambda net, path: 0.3)


def test_the_folders_path_warns_as_the_series_does(tmp_path):
    recorded_loop(tmp_path / "run", 2, optimizer_of=momentum)
    with pytest.warns(HeadwaterWarning, match="Momentum 0.8"):
        by_path = scores(tmp_path / "run")
    series = CheckpointSeries.open(tmp_path / "run", rates="recorded")
    assert_close(by_path, scores(series))
    (note,) = series.notes
    assert "Rates are the recorded ones here" in note


def test_effective_rates_weigh_checkpoints(tmp_path):
    recorded_loop(tmp_path / "run", 3, optimizer_of=momentum)
    series = CheckpointSeries.open(tmp_path / "run", rates="effective")
    _, history = plain_loop(3, optimizer_of=momentum)
    weighed = [(before.state, before.rates[0] * 0.9 / 0.2) for before in history]
    assert_close(scores(series), expected(weighed))
    (note,) = series.notes
    assert "rates are lr * (1 - dampening) / (1 - momentum)" in note


def test_adam_has_no_effective_rate_and_the_choices_are_named(tmp_path):
    recorded_loop(tmp_path / "run", 1, optimizer_of=adam)
    with pytest.raises(
        LearningRateError,
        match=r"with AdamW, of which no single rate .*rates='recorded' .*learning_rates=",
    ):
        CheckpointSeries.open(tmp_path / "run", rates="effective")


def test_momentum_that_never_fades_has_no_effective_rate(tmp_path):
    recorded_loop(
        tmp_path / "run",
        1,
        optimizer_of=lambda net: torch.optim.SGD(net.parameters(), lr=0.1, momentum=1.0),
    )
    with pytest.raises(
        LearningRateError, match=r"momentum 1\.0, with which a gradient never ceases"
    ):
        CheckpointSeries.open(tmp_path / "run", rates="effective")


def test_unknown_rates_and_odd_folders_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match="rates is 'corrected'; expected 'recorded'"):
        CheckpointSeries.open(folder, rates="corrected")
    with pytest.raises(InputError, match="folder is a int; expected a path"):
        CheckpointSeries.open(3)
    with pytest.raises(RecordingNotFoundError, match=r"no recording in .*checkpoints='.*/nowhere'"):
        CheckpointSeries.open(tmp_path / "nowhere")


def test_a_recording_without_checkpoints_is_an_error(tmp_path):
    recorded_loop(tmp_path / "run", 1)
    net = model()
    with CheckpointRecorder(tmp_path / "run", net, sgd(net), every=1, overwrite=True):
        pass
    with pytest.raises(NoCheckpointsError, match="has no checkpoint yet"):
        CheckpointSeries.open(tmp_path / "run")


def test_recommended_checkpoints_are_a_series_with_a_reason(folder, caplog):
    series = CheckpointSeries.open(folder)
    with caplog.at_level(logging.INFO, logger="headwater"):
        chosen = series.recommend(2)
    assert len(chosen) == 2
    assert chosen.reason
    assert chosen.reason in caplog.text
    assert f"reason: {chosen.reason}" in repr(chosen)
    assert scores(chosen).shape == (2, 7)
    assert series.recommend(9).steps == series.steps
    for n in (0, -1, 1.5, True):
        with pytest.raises(InputError, match=f"n is {n!r}; expected a positive int"):
            series.recommend(n)


def test_a_compiled_model_takes_the_series(folder):
    series = CheckpointSeries.open(folder)
    net = torch.compile(model(), backend="eager")
    assert_close(scores(series, model=net), expected(checkpoints_of_a_plain_loop()))
