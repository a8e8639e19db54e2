import pytest
import torch

from headwater.demo.data import NoisyDigits
from headwater.demo.explain import Explanation, Influence
from headwater.demo.ranking import by_score, in_random_order
from headwater.demo.results import Results
from headwater.demo.settings import Settings

HOSTILE = '<script src="https://example.org/x.js">&"\''


@pytest.fixture
def results():
    """Ten training examples, the second of which was flipped, under a hostile class name."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(10, 1, 8, 8, generator=generator)
    true = torch.arange(10)
    given = true.clone()
    given[1] = 0
    data = NoisyDigits(images, given, true, images[:3], true[:3])
    self_influence = torch.tensor([0.5, 9.25, 0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9])
    return Results(
        settings=Settings(),
        data=data,
        class_names=[HOSTILE, *(f"class {number}" for number in range(1, 10))],
        rates=[0.3, 0.07],
        n_misclassified=1,
        self_influence=self_influence,
        mean_loss=self_influence / 2,
        detections=[
            by_score("self-influence", self_influence, data.flipped),
            by_score("loss <b>", -self_influence, data.flipped),
            in_random_order(data.flipped),
        ],
        explanations=[
            Explanation(
                query=2,
                predicted_label=0,
                true_label=2,
                proponents=[Influence(2, 1.5), Influence(3, 0.25)],
                opponents=[Influence(1, -2.5), Influence(0, -0.125)],
            ),
            Explanation(0, 0, 0, [Influence(1, 3.0)], [Influence(9, -1.0)]),
        ],
    )
