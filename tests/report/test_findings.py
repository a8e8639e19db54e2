"""What the report says of the run, against plain loops that import nothing of the package."""

import base64
import io
import json

import pytest
import torch
from torch import nn

from headwater import Report, TracInCP
from headwater.report.contents import Contents
from headwater.report.contributions import contributions
from headwater.report.explanations import words
from headwater.report.neighbours import near_duplicates, row_vectors, text_vectors
from headwater.report.outputs import outputs_of
from headwater.report.verify import _embedded
from tests.report.conftest import RATES, TRAINING, linear
from tests.tasks import real_data


def loaded(state):
    model = linear()
    model.load_state_dict(state)
    return model


def gradient(model, image, label):
    model.zero_grad()
    nn.functional.cross_entropy(model(image[None]), label[None]).backward()
    return torch.cat([one.grad.flatten() for one in model.parameters()])


def data_of(page):
    return _embedded(page, page.read_text(encoding="utf-8"))["data"]


def test_probabilities_losses_and_predictions_at_every_checkpoint(run):
    estimator = run.estimator()
    found = outputs_of(estimator._streamed, estimator._streamed.task)
    tables = [loaded(state)(run.images).softmax(dim=1) for state, _ in run.checkpoints]
    every = torch.arange(TRAINING)
    for place, table in enumerate(tables):
        given = table[every, run.given]
        torch.testing.assert_close(found.given_probability[place], given)
        torch.testing.assert_close(found.losses[place], -given.log())
        assert found.predicted[place].tolist() == table.argmax(dim=1).tolist()
    torch.testing.assert_close(found.mean, torch.stack(tables).mean(dim=0))


def test_terms_of_checkpoints_are_rate_times_squared_norm(run):
    estimator = run.estimator()
    places = [0, 5, 64, 129]
    checkpoints = outputs_of(estimator._streamed, estimator._streamed.task).checkpoints
    found = contributions(estimator._streamed, places, checkpoints)
    for row, (state, rate) in enumerate(run.checkpoints):
        model = loaded(state)
        for column, place in enumerate(places):
            norm = gradient(model, run.images[place], run.given[place]).square().sum()
            assert found[row, column].item() == pytest.approx(rate * norm.item())


def test_the_page_has_the_scores_of_a_plain_loop(run, page):
    data = data_of(page)
    models = [loaded(state) for state, _ in run.checkpoints]
    one = data["queries"]["explained"][0]
    query = [
        gradient(m, run.query_images[one["place"]], run.query_labels[one["place"]]) for m in models
    ]
    scores = torch.zeros(TRAINING, dtype=torch.float64)
    own = torch.zeros(TRAINING, dtype=torch.float64)
    for model, rate, of_query in zip(models, RATES, query, strict=True):
        for n in range(TRAINING):
            of_example = gradient(model, run.images[n], run.given[n])
            scores[n] += rate * of_query @ of_example
            own[n] += rate * of_example @ of_example
    order = scores.argsort(descending=True)
    assert [place for place, _ in one["proponents"]] == order[:3].tolist()
    assert [place for place, _ in one["opponents"]] == order.flip(0)[:3].tolist()
    assert one["proponents"][0][1] == pytest.approx(scores.max().item(), rel=1e-3)
    by_source = {
        group: (positive, negative) for group, _, positive, negative in one["shares"]["source"]
    }
    assert by_source["scan"][0] == pytest.approx(scores[::2].clamp_min(0).sum().item(), rel=1e-3)
    assert by_source["photo"][1] == pytest.approx(scores[1::2].clamp_max(0).sum().item(), rel=1e-3)
    table = data["table"]["scores"]["self-influence"]
    places = data["shown"]["place"][: data["onPage"]]
    assert table == pytest.approx(own[places].tolist(), rel=1e-3)


def test_misread_queries_come_first_by_their_loss(run, page):
    data = data_of(page)
    explained = data["queries"]["explained"]
    model = loaded(run.checkpoints[-1][0])
    losses = nn.functional.cross_entropy(
        model(run.query_images), run.query_labels, reduction="none"
    )
    misread = model(run.query_images).argmax(dim=1) != run.query_labels
    order = sorted(range(len(losses)), key=lambda q: (not misread[q], -losses[q].item()))
    assert [one["place"] for one in explained] == order[:3]
    assert data["queries"]["misread"] == int(misread.sum())


def test_the_heat_map_is_the_mean_over_pairs_of_classes(run, page):
    heat = data_of(page)["overview"]["heat"]
    assert heat["queries"] == [str(k) for k in sorted(set(run.query_labels.tolist()))]
    scores = run.estimator().influence(run.query_images, run.query_labels)
    rows, columns = run.query_labels == int(heat["queries"][1]), run.given == 4
    mean = scores[rows][:, columns].mean().item()
    assert heat["means"][1][heat["examples"].index("4")] == pytest.approx(mean, rel=1e-3)


def test_known_wrong_labels_are_counted_and_held_against_every_ranking(run, page):
    overview = data_of(page)["overview"]
    assert overview["wrong"] == int((run.given != run.true).sum())
    names = [curve["name"] for curve in overview["curves"]]
    assert {"suspicion", "self-influence", "mean loss", "loss at the last checkpoint"} <= set(names)
    assert sum(one["share"] for one in overview["checkpoints"]) == pytest.approx(1, abs=1e-3)


def test_thumbnails_show_what_the_images_show(run, page):
    image_of = pytest.importorskip("PIL.Image").open
    data = data_of(page)
    url = data["shown"]["entry"][0]
    assert url.startswith("data:image/png;base64,")
    picture = image_of(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    wanted = (run.images[data["shown"]["place"][0]] * 255).round().flatten().long().tolist()
    assert list(picture.tobytes()) == wanted


def test_a_number_to_learn_is_shown_as_one(run, tmp_path):
    pytest.importorskip("vl_convert")
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(64, 1), nn.Flatten(0)).double()
    rows, values = run.images.flatten(1)[:40], run.true[:40].double() / 3
    estimator = TracInCP(
        model,
        torch.utils.data.TensorDataset(rows, values),
        [(model.state_dict(), 0.3)],
        loss_fn=nn.MSELoss(reduction="none"),
    )
    data = data_of(Report(estimator, rows[:3], values[:3], traced=2).write(tmp_path))
    assert data["kind"] == "rows"
    assert data["classes"] is None
    place = data["shown"]["place"][0]
    assert data["shown"]["given"][0] == pytest.approx(values[place].item(), rel=1e-3)
    assert data["table"]["answer"][0] == pytest.approx(model(rows[[place]]).item(), rel=1e-3)
    assert next(iter(data["table"]["scores"])) == "self-influence"


def test_near_duplicates_are_found_under_other_labels_only():
    texts = [
        "A film of wit and charm.",
        "a film of wit  and charm",
        "Something else entirely.",
        "A film of wit and charm!",
    ]
    labels = torch.tensor([0, 1, 1, 0])
    assert near_duplicates(text_vectors(texts), labels, torch.arange(4), kind="text") == [
        1,
        0,
        None,
        1,
    ]
    rows = torch.tensor(
        [[0.0, 0.0], [0.0, 0.001], [5.0, 5.0], [-5.0, 5.0]] + [[9.0 * n, n] for n in range(2, 40)]
    )
    found = near_duplicates(
        row_vectors(rows), torch.arange(42) % 2, torch.tensor([0, 2]), kind="rows"
    )
    assert found[0] == 1


def test_texts_are_cut_where_all_of_them_would_not_fit():
    long = ["x" * 5000, "é" * 300]
    contents = Contents([(torch.zeros(2, 3), torch.zeros(2))], no_more, texts=long)
    assert [len(text) for text in contents.show([0, 1], contents.fit([0, 1])).entries] == [
        2002,
        300,
    ]
    many = contents.fit([0] * 10_000)
    assert many.length == 500


def test_wide_rows_are_cut_where_all_of_them_would_not_fit():
    rows = torch.rand(3, 4000)
    contents = Contents([(rows, torch.zeros(3))], lambda places: [(rows[list(places)], None)])
    fit = contents.fit([0, 1, 2] * 1000)
    assert 8 <= fit.features < 4000
    shown = contents.show([2], fit)
    assert shown.entries[0] == pytest.approx(rows[2, : fit.features].tolist(), rel=1e-3)
    assert len(shown.features) == fit.features


def no_more(places):
    raise AssertionError("nothing needs to be read again")


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((2, 3, 9, 9), "images"),
        ((2, 9, 9, 3), "images"),
        ((2, 8, 8), "images"),
        ((2, 64), "rows"),
        ((2, 7, 5, 5), "rows"),
    ],
)
def test_what_examples_are_is_told_by_their_shape(shape, kind):
    assert Contents([(torch.zeros(shape), torch.zeros(2))], no_more).kind == kind


def test_json_of_the_page_is_read_by_python_as_by_the_browser(page):
    assert json.loads(json.dumps(data_of(page), allow_nan=False)) == data_of(page)


def test_tokens_are_shown_with_their_spaces():
    names = ["the", "deep", "##s"]

    def decode(ids):
        return " ".join(names[one] for one in ids).replace(" ##", "")

    assert words([0, 1, 2], decode) == ["the", " deep", "s"]
    assert words([7, 9], None) == [" 7", " 9"]


def test_tokens_of_a_language_model_add_up_to_their_text(tmp_path):
    transformers = pytest.importorskip("transformers")
    from headwater.tasks import CausalLanguageModelling

    torch.manual_seed(0)
    verses = [text.split()[:9] for text in real_data.verses(1, 1)[:7]]
    names = sorted({word for verse in verses for word in verse})
    config = transformers.GPT2Config(
        vocab_size=len(names), n_positions=9, n_embd=8, n_layer=1, n_head=2,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config).eval()
    rows = [
        {"input_ids": torch.tensor([names.index(word) for word in verse]), "text": " ".join(verse)}
        for verse in verses
        if len(verse) == 9
    ]
    estimator = TracInCP(model, rows, [(model.state_dict(), 0.3)], task=CausalLanguageModelling())
    report = Report(
        estimator,
        rows[:2],
        queries={"text": [row["text"] for row in rows[:2]]},
        decode=lambda ids: " ".join(names[one] for one in ids),
        traced=1,
        explained=1,
        k=2,
    )
    data = data_of(report.write(tmp_path))
    (one,) = data["queries"]["explained"]
    assert data["kind"] == "text"
    assert data["shown"]["entry"][0] in [row["text"] for row in rows]
    place, score = one["proponents"][0]
    assert sum(part for _, part in one["tokens"][str(place)]) == pytest.approx(score, rel=1e-2)
    assert "".join(word for word, _ in one["tokens"][str(place)]) in f" {rows[place]['text']}"
