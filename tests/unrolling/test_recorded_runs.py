"""A recorded training is taken again to the same bits, or is refused with the place."""

import json

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from headwater import (
    CheckpointRecorder,
    CheckpointSeries,
    DepartureError,
    ExactUnrolling,
    HeadwaterWarning,
    Indexed,
    InputError,
    NotReplayableError,
    RecordingCorruptError,
    TrainingRun,
)
from tests.estimators.small import QUERIES, TRAINING, Small, model

from .runs import BATCHES, CASES, smooth, trained

DATA = TensorDataset(*TRAINING)


def record(
    folder,
    case=CASES["momentum"],
    *,
    net=None,
    optimizer=None,
    batches=BATCHES,
    clip=None,
    noted=True,
    until=None,
    **options,
):
    """A loop of the user's own; `until` stops it as an exception would."""
    net = smooth() if net is None else net
    optimizer = case.optimizer(net) if optimizer is None else optimizer
    falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + 0.1 * step))
    try:
        with CheckpointRecorder(folder, net, optimizer, **{"every": 2, **options}) as recorder:
            for number, places in enumerate(batches):
                if number == until:
                    raise KeyboardInterrupt
                inputs, targets = (column[places] for column in TRAINING)
                optimizer.zero_grad()
                if noted:
                    recorder.batch(places)
                loss = nn.functional.cross_entropy(net(inputs), targets)
                loss.backward()
                if clip is not None:
                    nn.utils.clip_grad_norm_(net.parameters(), clip)
                optimizer.step()
                falling.step()
    except KeyboardInterrupt:
        pass
    return net, optimizer


def opened(folder, net=None, **options):
    net = smooth(seed=9) if net is None else net
    return TrainingRun.open(folder, net, DATA, nn.CrossEntropyLoss(), **options)


@pytest.mark.parametrize("name", ["momentum", "nesterov", "AdamW", "amsgrad"])
def test_a_recorded_run_is_taken_again_to_the_same_bits(tmp_path, name):
    net, _ = record(tmp_path / "run", CASES[name], keep=2)
    run = opened(tmp_path / "run")
    assert len(run) == len(BATCHES)
    assert run.verify() == 0
    with torch.no_grad():
        losses = nn.functional.cross_entropy(net(QUERIES[0]), QUERIES[1], reduction="none")
    assert torch.equal(run.losses(*QUERIES), losses)
    # At updates 0, 4 and the end.
    assert run._comparison.compared == 3


def test_its_scores_are_those_of_the_run_in_memory(tmp_path):
    record(tmp_path / "run", CASES["AdamW"])
    recorded = ExactUnrolling(opened(tmp_path / "run"), check=False).influence(*QUERIES)
    case, net = CASES["AdamW"], smooth()
    optimizer = case.optimizer(net)
    falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + 0.1 * step))
    run = TrainingRun.train(net, DATA, optimizer, BATCHES, nn.CrossEntropyLoss(), scheduler=falling)
    assert torch.equal(recorded, ExactUnrolling(run, check=False).influence(*QUERIES))


def test_dropout_is_drawn_again(tmp_path):
    torch.manual_seed(4)
    record(tmp_path / "run", net=model(kind=Small))
    run = opened(tmp_path / "run", model(seed=9))
    assert run.verify() == 0
    assert all(step.rng is not None for step in run.steps)


def test_recording_batches_leaves_training_as_it_is(tmp_path):
    ends = []
    for noted in (False, True):
        torch.manual_seed(4)
        net, _ = record(tmp_path / f"run-{noted}", net=model(kind=Small), noted=noted)
        ends.append(net.state_dict())
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])


def test_the_model_may_have_been_frozen_since_and_parts_of_it_in_training(tmp_path):
    net = smooth()
    net.fc10.requires_grad_(False)
    record(tmp_path / "partly", net=net)
    assert opened(tmp_path / "partly", net).verify() == 0
    record(tmp_path / "whole")
    frozen = smooth(seed=9).requires_grad_(False).eval()
    run = opened(tmp_path / "whole", frozen)
    assert run.verify() == 0
    assert ExactUnrolling(run, check=False).influence(*QUERIES)[:, :6].all()
    assert not any(p.requires_grad for p in frozen.parameters())


def test_modules_in_eval_mode_are_in_eval_mode_again(tmp_path):
    net = model(kind=Small)
    net.body.eval()
    record(tmp_path / "run", net=net)
    run = opened(tmp_path / "run", model(seed=9))
    assert run.verify() == 0
    assert run.steps[0].evaluated == ("body", "body.0", "body.1", "body.2")


def test_a_loader_of_indexed_examples_says_what_its_batches_hold(tmp_path):
    net = smooth()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    loader = DataLoader(Indexed(DATA), batch_size=3, shuffle=True)
    with CheckpointRecorder(tmp_path / "run", net, optimizer, every=10) as recorder:
        for _ in range(2):
            for places, (inputs, targets) in loader:
                recorder.batch(places)
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(inputs), targets).backward()
                optimizer.step()
    run = opened(tmp_path / "run")
    assert run.verify() == 0
    assert sorted(n for step in run.steps[:3] for n in step.examples) == list(range(7))
    assert [len(step.examples) for step in run.steps] == [3, 3, 1] * 2


def test_a_killed_training_is_taken_again_up_to_its_last_checkpoint(tmp_path):
    record(tmp_path / "run", until=7, every=3)
    run = opened(tmp_path / "run")
    assert [step.step for step in run.steps] == list(range(6))
    assert run.verify() == 0


def test_a_training_that_was_resumed_is_one_run(tmp_path):
    folder = tmp_path / "run"
    net, optimizer = record(folder, batches=BATCHES[:5])
    record(folder, net=net, optimizer=optimizer, batches=BATCHES[5:], start=5)
    run = opened(folder)
    assert [list(step.examples) for step in run.steps] == BATCHES
    assert run.verify() == 0


def test_updates_that_are_taken_anew_replace_the_old_ones(tmp_path):
    folder = tmp_path / "run"
    net, optimizer = record(folder, batches=BATCHES[:5])
    # Killed, with updates listed that no checkpoint followed, and a line that was cut off.
    record(tmp_path / "run", net=net, optimizer=optimizer, batches=BATCHES[5:], start=5, until=2)
    log = folder / "steps" / "steps.jsonl"
    log.write_bytes(log.read_bytes() + b'{"step":7,"exam')
    record(folder, net=net, optimizer=optimizer, batches=BATCHES[7:], start=7)
    run = opened(folder)
    assert [list(step.examples) for step in run.steps] == BATCHES
    assert run.verify() == 0


def test_a_run_without_its_beginning_needs_the_moments(tmp_path):
    net, optimizer = record(tmp_path / "first", batches=BATCHES[:5])
    later = {"net": net, "optimizer": optimizer, "batches": BATCHES[5:], "start": 5, "every": 1}
    state = {key: value.clone() for key, value in net.state_dict().items()}
    record(tmp_path / "with", **later, moments=True)
    run = opened(tmp_path / "with")
    assert len(run) == 3
    assert run.verify() == 0
    net.load_state_dict(state)
    record(tmp_path / "without", **later)
    with pytest.raises(NotReplayableError, match=r"updates from 5 on, .*with moments=True"):
        opened(tmp_path / "without")


def test_a_gap_in_the_list_is_said(tmp_path):
    net, optimizer = record(tmp_path / "run", batches=BATCHES[:4])
    with pytest.warns(HeadwaterWarning, match="doesn't go up to update 6"):
        record(tmp_path / "run", net=net, optimizer=optimizer, batches=BATCHES[6:], start=6)


def test_overwriting_a_recording_takes_its_list_away(tmp_path):
    record(tmp_path / "run")
    record(tmp_path / "run", noted=False, overwrite=True)
    assert not list((tmp_path / "run" / "steps").iterdir())
    with pytest.raises(NotReplayableError, match=r"doesn't say which examples .*recorder\.batch"):
        opened(tmp_path / "run")


def test_the_weights_at_the_end_are_no_checkpoint(tmp_path):
    record(tmp_path / "run", CASES["plain"])
    assert CheckpointSeries.open(tmp_path / "run").steps == [0, 2, 4, 6]


def test_clipped_gradients_are_clipped_again_and_otherwise_depart(tmp_path):
    record(tmp_path / "run", clip=0.1)
    assert opened(tmp_path / "run", max_grad_norm=0.1).verify() == 0
    with pytest.raises(
        DepartureError, match=r"before update 2 .*agreed before update 0.*max_grad_norm="
    ):
        opened(tmp_path / "run").verify()


def test_another_dataset_or_loss_departs_and_rounding_can_be_allowed(tmp_path):
    record(tmp_path / "run")
    other = TensorDataset(TRAINING[0].flip(0), TRAINING[1])
    with pytest.raises(DepartureError, match="before update 2") as caught:
        TrainingRun.open(tmp_path / "run", smooth(), other, nn.CrossEntropyLoss()).verify()

    assert "tolerance" not in str(caught.value)

    def rounded(predictions, targets):
        return nn.functional.cross_entropy(predictions, targets) * (1 + 1e-12)

    run = TrainingRun.open(tmp_path / "run", smooth(), DATA, rounded)
    with pytest.raises(DepartureError, match=r"rounding alone, allow it: tolerance=1e-1\d"):
        run.verify()
    allowed = TrainingRun.open(tmp_path / "run", smooth(), DATA, rounded, tolerance=1e-9)
    assert 0 < allowed.verify() < 1e-9


def test_another_architecture_is_among_what_may_be_why(tmp_path):
    record(tmp_path / "run")
    other = smooth()
    other.body[0] = nn.ReLU()
    with pytest.raises(DepartureError, match=r"Something here .*: the model \(its arch") as caught:
        opened(tmp_path / "run", other).verify()
    assert "tolerance" not in str(caught.value)


def test_a_changed_list_of_updates_is_refused(tmp_path):
    record(tmp_path / "run")
    log = tmp_path / "run" / "steps" / "steps.jsonl"
    data = log.read_bytes()
    lines = data.splitlines(keepends=True)
    for damaged in (data[:-3], b"", lines[0] + b" " * (len(data) - len(lines[0]))):
        log.write_bytes(damaged)
        with pytest.raises(RecordingCorruptError, match=r"steps\.jsonl"):
            opened(tmp_path / "run")
    skipping = lines[0] + lines[2] + b" " * (len(lines[1]) - 1) + b"\n" + b"".join(lines[3:])
    log.write_bytes(skipping)
    with pytest.raises(RecordingCorruptError, match="that of update 1 is missing"):
        opened(tmp_path / "run")
    log.unlink()
    with pytest.raises(RecordingCorruptError, match="is missing"):
        opened(tmp_path / "run")


def test_only_recordings_with_batches_are_of_version_2(tmp_path):
    for noted, version in ((True, 2), (False, 1)):
        folder = tmp_path / str(version)
        record(folder, noted=noted)
        manifest = json.loads((folder / "recording.json").read_text())
        assert manifest["version"] == version
        assert ("steps" in manifest) is noted


def test_batches_are_noted_once_per_update_from_the_first_on(tmp_path):
    net = smooth()
    optimizer = CASES["plain"].optimizer(net)
    with CheckpointRecorder(tmp_path / "a", net, optimizer, every=2) as recorder:
        with pytest.raises(InputError, match="whole numbers from 0 on"):
            recorder.batch([0.5])
        recorder.batch(torch.tensor([1, 2]))
        with pytest.raises(InputError, match="a second batch was noted for update 0"):
            recorder.batch([3])
        optimizer.step()
        with pytest.raises(InputError, match="update 1 has no batch"):
            optimizer.step()
    with pytest.raises(InputError, match="the recorder is closed"):
        recorder.batch([0])
    with CheckpointRecorder(tmp_path / "b", net, optimizer, every=2) as recorder:
        optimizer.step()
        with pytest.raises(InputError, match="update 1 is the first whose batch is noted"):
            recorder.batch([0])


def test_odd_arguments_are_refused(tmp_path):
    record(tmp_path / "run")
    with pytest.raises(InputError, match="tolerance is -1"):
        opened(tmp_path / "run", tolerance=-1)
    with pytest.raises(InputError, match="folder is a int"):
        opened(3)


def test_representations_say_what_a_run_is():
    run = trained(CASES["momentum"])
    assert repr(run) == "TrainingRun(Smooth, examples=7, updates=8, SGD)"
    assert repr(ExactUnrolling(run)) == f"ExactUnrolling({run!r})"


def test_weights_of_examples_may_be_a_list_of_numbers_that_are_finite():
    run = trained(CASES["plain"])
    ones = run.losses(*QUERIES, example_weights=[1.0] * len(TRAINING[0]))
    assert torch.equal(ones, run.losses(*QUERIES, example_weights=torch.ones(len(TRAINING[0]))))
    with pytest.raises(InputError, match="aren't finite"):
        run.losses(*QUERIES, example_weights=[float("nan")] * len(TRAINING[0]))


def test_an_error_of_the_model_with_queries_says_that_it_was_for_them():
    with pytest.raises(RuntimeError) as raised:
        ExactUnrolling(trained(CASES["plain"]), check=False).influence(
            QUERIES[0][:, :3], QUERIES[1]
        )
    assert any("raised for the queries" in note for note in raised.value.__notes__)
