import pytest
import torch

from headwater.demo.data import NoisyDigits
from headwater.demo.model import small_cnn
from headwater.demo.settings import Settings
from headwater.demo.training import load_checkpoint, train
from headwater.files import replacing

SETTINGS = Settings(epochs=4, checkpoint_every=2, learning_rate=0.2, batch_size=8)


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(20, 1, 8, 8, generator=generator)
    labels = torch.randint(10, (20,), generator=generator)
    return NoisyDigits(images, labels, labels, images[:5], labels[:5])


def test_checkpoints_hold_the_weights_and_the_rate_of_their_epoch(tmp_path, data):
    model = small_cnn(seed=0)
    paths = train(model, data, SETTINGS, tmp_path)
    assert [path.name for path in paths] == ["ckpt-2.pt", "ckpt-4.pt"]

    other = small_cnn(seed=1)
    assert load_checkpoint(paths[0], other) == pytest.approx(0.15)
    assert load_checkpoint(paths[1], other) == pytest.approx(0.05)
    for name, weights in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], weights)


def test_training_twice_gives_the_same_weights(tmp_path, data):
    models = small_cnn(seed=0), small_cnn(seed=0)
    for number, model in enumerate(models):
        train(model, data, SETTINGS, tmp_path / str(number))
    left, right = (model.state_dict() for model in models)
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_checkpoints_of_an_earlier_and_longer_run_are_removed(tmp_path, data):
    (tmp_path / "ckpt-16.pt").write_bytes(b"of an earlier run")
    train(small_cnn(seed=0), data, SETTINGS, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ckpt-2.pt", "ckpt-4.pt"]


def test_a_new_model_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    small_cnn(seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_file_whose_writing_fails_stays_as_it_was(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("whole")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("ha")
        raise ZeroDivisionError
    assert path.read_text() == "whole"
    assert [other.name for other in tmp_path.iterdir()] == ["results.csv"]
