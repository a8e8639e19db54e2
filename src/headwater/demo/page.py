"""The results as one HTML page that needs no other file and no network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

import torch

from headwater.demo.console import SHARES_CHECKED
from headwater.demo.curve import found_curves
from headwater.demo.picture import data_url
from headwater.demo.ranking import ranking

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from headwater.demo.explain import Explanation, Influence
    from headwater.demo.results import Results

N_SUSPECTS = 30


def render(results: Results) -> str:
    """Return the page: the headline figures, the ranking, the suspects and the explanations."""
    style = files("headwater.demo").joinpath("page.css").read_text(encoding="utf-8")
    return f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>headwater demo: wrong labels found, predictions explained</title>
<style>
{style}</style>
</head>
<body>
<main>
{_header(results)}
{_detection(results)}
{_suspects(results)}
{_explanations(results)}
{_footer(results)}
</main>
</body>
</html>
"""


def _header(results: Results) -> str:
    n_flipped, n_train = int(results.data.flipped.sum()), len(results.data.given_labels)
    best = results.detections[0]
    tiles = [
        (
            f"{best.found_at(share):.0f}<small> of {n_flipped}</small>",
            f"flipped labels found in the first {share:.0%} by self-influence",
        )
        for share in SHARES_CHECKED
    ]
    tiles.append((f"{results.accuracy:.1%}", "test accuracy, in spite of the flipped labels"))
    tiles.append((f"{len(results.rates)}", "checkpoints, each weighed by its learning rate"))
    figures = "\n".join(f"<div><dd>{figure}</dd><dt>{text}</dt></div>" for figure, text in tiles)
    return f"""\
<header>
<p class="brand">headwater <span>demo</span></p>
<h1>Which training examples made my model say this?</h1>
<p class="lede">A small CNN learnt {n_train:,} handwritten digits, {n_flipped} of them under a label
that was flipped on purpose. Traced back to its training examples, the model gives the wrong labels
away and shows where its own mistakes come from.</p>
<dl class="figures">
{figures}
</dl>
</header>"""


def _detection(results: Results) -> str:
    heads = "".join(f'<th scope="col">first {share:.0%}</th>' for share in SHARES_CHECKED)
    rows = "\n".join(
        f'<tr><th scope="row"><i class="key key-{number}"></i>{escape(detection.name)}</th>'
        + "".join(
            f"<td>{detection.recall_at(share):.1%}<small>{detection.found_at(share):.0f}</small></td>"
            for share in SHARES_CHECKED
        )
        + "</tr>"
        for number, detection in enumerate(results.detections)
    )
    return f"""\
<section>
<h2>Wrong labels rise to the top</h2>
<p>Rank the training set by self-influence, check it from the top: how many of the flipped labels
have turned up? {_comparison(results)}</p>
<div class="detection card">
<figure><figcaption>Flipped labels found</figcaption>
{found_curves(results.detections)}</figure>
<table>
<thead><tr><th scope="col">Ranked by</th>{heads}</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</div>
</section>"""


def _comparison(results: Results) -> str:
    """Say plainly how self-influence did beside the best ranking by plain training loss."""
    share = SHARES_CHECKED[0]
    own, *by_loss, _ = (detection.found_at(share) for detection in results.detections)
    best_loss = max(by_loss)
    if own > best_loss:
        return "It finds more of them than the training loss does."
    verdict = "as many" if own == best_loss else "more"
    return (
        f"On a task this easy the plain training loss finds {verdict} in the first {share:.0%}; "
        "whose doing a prediction is, no loss can tell: see the last part."
    )


def _suspects(results: Results) -> str:
    data, names = results.data, results.class_names
    cards = []
    top = ranking(results.self_influence)[:N_SUSPECTS].tolist()
    for rank, index in enumerate(top, start=1):
        given, true = names[int(data.given_labels[index])], names[int(data.true_labels[index])]
        flipped = bool(data.flipped[index])
        truth = f"flipped from {escape(true)}" if flipped else "label is right"
        cards.append(
            f'<li class="{"flipped" if flipped else "right"}">'
            f"{_image(data.train_images[index], f'training image {index}')}"
            f"<p><b>labelled {escape(given)}</b><span>{truth}</span>"
            f"<small>{rank} · {results.self_influence[index].item():.3g}</small></p></li>"
        )
    return f"""\
<section>
<h2>The most suspicious labels</h2>
<p>The head of the list, highest self-influence first: the label that training saw,
whether it was flipped, rank and score. The whole list is in <code>self_influence.csv</code>.</p>
<ol class="suspects card">
{"".join(cards)}
</ol>
</section>"""


def _explanations(results: Results) -> str:
    cards = "\n".join(_explanation(results, one) for one in results.explanations)
    return f"""\
<section>
<h2>Whose doing was that?</h2>
<p>Test images, misclassified ones first. <b class="pro">Proponents</b> are the training images
that made the true answer more likely each time training stepped on them,
<b class="opp">opponents</b> those that made it less likely. Under each stand the label that it was
trained with and its score; a frame marks a <b class="bad">flipped</b> label, struck out before the
true one. The same as a table: <code>explanations.csv</code>.</p>
{cards}
</section>"""


def _explanation(results: Results, one: Explanation) -> str:
    names = results.class_names
    predicted, true = escape(names[one.predicted_label]), escape(names[one.true_label])
    verdict = (
        f"rightly read<br>as <b>{true}</b>"
        if one.predicted_label == one.true_label
        else f'read as <b class="bad">{predicted}</b><br>it is <b>{true}</b>'
    )
    return f"""\
<article class="card">
<div class="query">
{_image(results.data.test_images[one.query], f"test image {one.query}")}
<p>{verdict}<small>test image {one.query}</small></p>
</div>
<div class="pro"><h3>for “{true}”</h3>{_strip(results, one.proponents)}</div>
<div class="opp"><h3>against “{true}”</h3>{_strip(results, one.opponents)}</div>
</article>"""


def _strip(results: Results, influences: Sequence[Influence]) -> str:
    data, names = results.data, results.class_names
    items = []
    for influence in influences:
        given = escape(names[int(data.given_labels[influence.index])])
        true = escape(names[int(data.true_labels[influence.index])])
        flipped = bool(data.flipped[influence.index])
        label = f"<b><s>{given}</s> {true}</b>" if flipped else f"<b>{given}</b>"
        items.append(
            f'<li class="{"flipped" if flipped else "right"}">'
            f"{_image(data.train_images[influence.index], f'training image {influence.index}')}"
            f"{label}<small>{_signed(influence.score)}</small></li>"
        )
    return f"<ol>{''.join(items)}</ol>"


def _footer(results: Results) -> str:
    settings = results.settings
    rates = ", ".join(f"{rate:.3g}" for rate in results.rates)
    return f"""\
<footer>
<p>influence(q, n) = Σ<sub>c</sub> rate<sub>c</sub> · ⟨ ∇L(w<sub>c</sub>, q), ∇L(w<sub>c</sub>, n) ⟩
&emsp; self-influence(n) = Σ<sub>c</sub> rate<sub>c</sub> · ‖ ∇L(w<sub>c</sub>, n) ‖²</p>
<p>TracInCP, exact and over all parameters (Pruthi et al. 2020, arXiv 2002.08484). Cross-entropy;
plain SGD for {settings.epochs} epochs; learning rates at the checkpoints {rates}. Seeds: split
{settings.split_seed}, flips {settings.flip_seed}, training {settings.training_seed}.
Digits: scikit-learn. PyTorch {escape(str(torch.__version__))}.</p>
</footer>"""


def _image(image: Float[Tensor, "1 8 8"], description: str) -> str:
    return f'<img src="{data_url(image)}" alt="{escape(description)}" width="8" height="8">'


def _signed(score: float) -> str:
    return f"{score:+.3g}".replace("-", "−")
