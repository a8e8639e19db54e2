"""The arithmetic of docs/cluster.md against small runs whose operations and bytes are counted."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import cluster_arithmetic as arithmetic
from benchmarks.cluster_arithmetic import Job, Layers
from headwater import GradientStore, LoGra, TracInCP
from headwater.capture import Capture, borrowed
from headwater.forms import LayerProjection, Materialised
from headwater.tasks import LossTask

N, S, Q = 24, 40, 6
SHAPES = ((12, 20), (20, 24), (24, 8))
JOB = Job("small", tuple(Layers(1, *shape) for shape in SHAPES), (0, 0), N, S, dim=4)


def per_example(predictions, targets):
    return (predictions.mean(dim=2) - targets[:, None]).square().sum(dim=1)


def model():
    torch.manual_seed(0)
    layers = [nn.Linear(*shape, bias=False) for shape in SHAPES]
    return nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])


def data():
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(N, S, SHAPES[0][0], generator=generator),
        torch.randn(N, generator=generator),
    )


def captured(net, batch):
    selection = tuple(name for name, _ in net.named_parameters())
    task = LossTask(per_example, reduction="none")
    with borrowed(net):
        capture = Capture(net, selection)
        with capture.attached():
            capture.weights_changed()
            return capture.gradients(task, batch)


def written_out(gradients):
    held = gradients.for_pairs(queries=Q)
    assert {type(form) for form in held.forms.values()} == {Materialised}
    return held


def counted(run) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def test_capturing_takes_the_operations_that_the_page_says():
    net, batch = model(), data()
    assert counted(lambda: captured(net, batch)) == N * arithmetic.capture_flops(JOB)


def test_products_take_the_operations_that_the_page_says():
    net, (inputs, targets) = model(), data()
    queries = written_out(captured(net, (inputs[:Q], targets[:Q])))
    examples = captured(net, (inputs, targets))
    found = counted(lambda: queries.dot(examples))
    assert found == N * arithmetic.product_flops(JOB, Q)


def test_a_projection_takes_the_operations_that_the_page_says():
    net, batch = model(), data()
    shapes = {name: parameter.shape for name, parameter in net.named_parameters()}
    projection = LayerProjection(JOB.dim, 0, shapes)
    examples = captured(net, batch)
    projection(examples, 0)
    assert counted(lambda: projection(examples, 0)) == N * arithmetic.projection_flops(JOB)


@pytest.mark.parametrize(("dtype", "itemsize"), [("float32", 4), ("float16", 2)])
def test_a_store_takes_the_bytes_that_the_page_says(tmp_path, dtype, itemsize):
    net = model()
    estimator = LoGra(
        net, TensorDataset(*data()), [net.state_dict()], dim=JOB.dim, loss_fn=per_example
    )
    store = GradientStore.build(estimator, tmp_path / "store", dtype=dtype)
    expected = arithmetic.store_bytes(JOB, itemsize)
    # The header, and 16 bytes an example of ids and places.
    assert 0 <= store.info()["nbytes"] - expected - 16 * N < 4096
    assert JOB.projected_numbers == 3 * JOB.dim**2


def test_a_querys_exact_gradient_takes_the_bytes_that_the_page_says():
    net, (inputs, targets) = model(), data()
    held = written_out(captured(net, (inputs[:1], targets[:1])))
    assert held.nbytes == arithmetic.query_bytes(JOB, 4)


def test_scores_are_as_many_as_the_ranks_receive():
    net, (inputs, targets) = model(), data()
    estimator = TracInCP(
        net,
        TensorDataset(inputs, targets),
        [net.state_dict()],
        loss_fn=per_example,
        learning_rates=[0.1],
    )
    scores = estimator.influence(inputs[:Q], targets[:Q])
    assert scores.numel() * scores.element_size() == arithmetic.gathered_bytes(JOB, Q)


@pytest.mark.parametrize(
    ("job", "parameters"), list(zip(arithmetic.JOBS, (85e6, 1e9, 7e9), strict=True))
)
def test_the_jobs_models_have_the_size_that_they_are_called_by(job, parameters):
    assert job.parameters == pytest.approx(parameters, rel=0.05)


def test_the_page_has_the_tables_that_the_script_writes():
    assert arithmetic.text(arithmetic.Machine()) in arithmetic.PAGE.read_text()
