import pytest
import torch

from headwater.demo.data import N_CLASSES, flip_labels, noisy_digits
from headwater.demo.settings import Settings
from headwater.errors import MissingDependencyError


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def data():
    pytest.importorskip("sklearn")
    return noisy_digits(Settings())


def test_exactly_a_tenth_of_the_training_labels_is_flipped(data):
    assert len(data.given_labels) == 1400
    assert int(data.flipped.sum()) == 140


def test_training_and_test_images_share_out_the_whole_dataset(data):
    images = torch.cat([data.train_images, data.test_images])
    assert images.shape == (1797, 1, 8, 8)
    assert images.unique(dim=0).shape == images.shape
    assert images.min() == 0
    assert images.max() == 1


def test_the_same_settings_give_the_same_data(data):
    again = noisy_digits(Settings())
    assert torch.equal(again.train_images, data.train_images)
    assert torch.equal(again.given_labels, data.given_labels)


def test_another_flip_seed_flips_other_labels_of_the_same_images(data):
    other = noisy_digits(Settings(flip_seed=7))
    assert torch.equal(other.train_images, data.train_images)
    assert not torch.equal(other.flipped, data.flipped)


def test_flips_reach_every_other_class_about_equally_often():
    labels = torch.full((9000,), 3)
    counts = flip_labels(labels, 1.0, generator()).bincount(minlength=N_CLASSES)
    assert counts[3] == 0
    # 1,000 are expected of each; five standard deviations are 150.
    assert counts[torch.arange(N_CLASSES) != 3].sub(1000).abs().max() < 150


def test_flipping_leaves_the_labels_handed_in_as_they_were():
    labels = torch.arange(10)
    flip_labels(labels, 0.5, generator())
    assert torch.equal(labels, torch.arange(10))


def test_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    flip_labels(torch.arange(10), 0.5, generator())
    assert torch.equal(torch.get_rng_state(), before)


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'headwater\[demo\]'"):
        noisy_digits(Settings())
