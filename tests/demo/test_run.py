import csv
import subprocess
import sys

import pytest
import torch

from headwater.demo.console import summary
from headwater.demo.run import run
from headwater.demo.settings import Settings

SMALL = Settings(train_size=200, epochs=4, checkpoint_every=2, explained=3, k=2)

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    pytest.importorskip("sklearn")
    out = tmp_path_factory.mktemp("demo")
    return run(SMALL, out), out


def test_the_demo_writes_its_page_its_tables_and_its_checkpoints(finished):
    results, out = finished
    assert sorted(path.name for path in out.iterdir()) == [
        "attribution.py",
        "checkpoints",
        "explanations.csv",
        "report.html",
        "self_influence.csv",
    ]
    with (out / "self_influence.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 200
    with (out / "explanations.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 3 * 2 * 2
    assert int(results.data.flipped.sum()) == 20


def test_self_influence_is_that_of_a_plain_loop_over_examples(finished):
    results, out = finished
    expected = torch.zeros(5)
    for path in (out / "checkpoints" / "ckpt-2.pt", out / "checkpoints" / "ckpt-4.pt"):
        checkpoint = torch.load(path, weights_only=True)
        weights = {name: tensor.requires_grad_() for name, tensor in checkpoint["model"].items()}
        for n in range(5):
            logits = _forward(weights, results.data.train_images[n : n + 1])
            loss = torch.nn.functional.cross_entropy(logits, results.data.given_labels[n : n + 1])
            grads = torch.autograd.grad(loss, list(weights.values()))
            squared_norm = sum(grad.square().sum() for grad in grads)
            expected[n] += checkpoint["learning_rate"] * squared_norm
    torch.testing.assert_close(results.self_influence[:5], expected, rtol=1e-4, atol=0)


def test_the_summary_names_every_way_of_ranking(finished):
    results, _ = finished
    text = summary(results)
    assert "20 of 200 training labels were flipped" in text
    for detection in results.detections:
        assert detection.name in text
    assert "10.0%" in text


def test_the_command_explains_itself():
    answer = subprocess.run(
        [sys.executable, "-m", "headwater.demo", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--out FOLDER" in answer.stdout
    assert answer.stderr == ""


def _forward(weights, images):
    functional = torch.nn.functional
    x = functional.conv2d(images, weights["0.weight"], weights["0.bias"], padding=1).relu()
    x = functional.conv2d(x, weights["2.weight"], weights["2.bias"], padding=1).relu()
    x = functional.max_pool2d(x, 2).flatten(start_dim=1)
    x = functional.linear(x, weights["6.weight"], weights["6.bias"]).relu()
    return functional.linear(x, weights["8.weight"], weights["8.bias"])
