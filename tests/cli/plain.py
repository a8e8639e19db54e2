"""What the commands should say of a run of the demo: plain loops over its files."""

import torch
from torch import nn

from headwater.demo.data import noisy_digits
from headwater.demo.model import small_cnn
from tests.oracles import tracin


def run_of(settings, folder):
    """Model, checkpoints, training examples and queries, in float64."""
    data = noisy_digits(settings)
    model = small_cnn(settings.training_seed).double()
    checkpoints = []
    for path in sorted(folder.glob("ckpt-*.pt")):
        saved = torch.load(path, weights_only=True)
        state = {name: tensor.double() for name, tensor in saved["model"].items()}
        checkpoints.append((state, saved["learning_rate"]))
    training = singles(data.train_images, data.given_labels)
    queries = singles(data.test_images, data.test_labels)
    return model, checkpoints, training, queries


def singles(images, labels):
    return [(images[i : i + 1].double(), labels[i : i + 1]) for i in range(len(labels))]


def loss(model, example):
    return nn.functional.cross_entropy(model(example[0]), example[1])


def scores(settings, folder, queries):
    model, checkpoints, training, asked = run_of(settings, folder)
    names = tracin.trainable_names(model)
    return tracin.influence_scores(
        model, checkpoints, loss, training, [asked[q] for q in queries], names
    )


def self_influence(settings, folder):
    model, checkpoints, training, _ = run_of(settings, folder)
    return tracin.self_influence(model, checkpoints, loss, training, tracin.trainable_names(model))
