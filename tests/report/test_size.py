"""A page of 5,000 images stays under 15 MB, and a larger set is cut where the page says so."""

import pytest
import torch

from headwater.report.contents import Contents
from headwater.report.thumbnails import BUDGET
from tests.report.conftest import TRAINING


def in_memory(images):
    batch = (images, torch.zeros(len(images)))
    return Contents([batch], lambda places: [(images[list(places)], None)])


def test_thumbnails_of_5000_photographs_fit_their_budget():
    image = pytest.importorskip("sklearn.datasets").load_sample_image("flower.jpg")
    photo = torch.as_tensor(image.copy()).permute(2, 0, 1)
    # Real textures, each another cut of a photograph.
    cuts = [
        photo[:, y : y + 224, x : x + 224] for y in range(0, 200, 29) for x in range(0, 400, 67)
    ]
    contents = in_memory(torch.stack(cuts))
    fit = contents.fit(range(len(cuts)), others=5000 - len(cuts))
    shown = contents.show(range(len(cuts)), fit)
    assert fit.edge >= 32
    assert sum(map(len, shown.entries)) / len(cuts) * 5000 <= 1.1 * BUDGET


def test_small_images_are_never_made_larger():
    digits = [torch.rand(1, 8, 8) for _ in range(3)]
    assert in_memory(torch.stack(digits)).fit([0, 1, 2]).edge == 8


def test_the_first_of_the_ranking_are_shown_and_the_page_says_how_many(run, opened, tmp_path):
    page = run.report(max_examples=40, traced=5).write(tmp_path)
    tab = opened(page)
    assert "The 40 of 130 training examples with the highest suspicion" in tab.inner_text(
        "#sample-note"
    )
    assert tab.locator("#rows tr").count() == 40
    assert f"of {TRAINING}" in tab.inner_text("#sample-note")
