import torch
from torch import nn

from headwater.demo.data import NoisyDigits
from headwater.demo.explain import choose_queries


class Fixed(nn.Module):
    """Answers with the first two pixels as the logits of two classes."""

    def forward(self, images):
        return images.flatten(start_dim=1)[:, :2]


def test_misclassified_images_come_first_then_the_least_certain_ones():
    images = torch.zeros(5, 1, 8, 8)
    # Logit of the true class 0 less that of class 1: right by far, wrong, right just so, ...
    images.view(5, -1)[:, 0] = torch.tensor([3.0, -1.0, 0.5, -2.0, 1.0])
    labels = torch.zeros(5, dtype=torch.int64)
    data = NoisyDigits(images, labels, labels, images, labels)
    assert choose_queries(Fixed(), data, 5).tolist() == [3, 1, 2, 4, 0]
    assert choose_queries(Fixed(), data, 3).tolist() == [3, 1, 2]
