"""Scores by token against one autograd gradient per token's loss."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from headwater import BatchError, InputError, Projected, TracInCPFast
from headwater.tasks import (
    CausalLanguageModelling,
    Seq2SeqLanguageModelling,
    SequenceClassification,
    TokenClassification,
)
from tests.oracles import tracin
from tests.tasks.test_huggingface import sum_over_tags, token_by_token, unpadded_sum
from tests.tasks.tiny import (
    LENGTH,
    RATES,
    bert,
    bert_of_tokens,
    classification,
    estimator,
    gpt2,
    items,
    pairs,
    sequences,
    singles,
    t5,
    tagged,
    tied_llama,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def next_token(model, example, place):
    """The loss of the token at one place, from those before it alone."""
    ids = example["input_ids"]
    if not example["attention_mask"][0, place]:
        return next(iter(model.parameters())).sum() * 0
    logits = model(input_ids=ids[:, :place], use_cache=False).logits[0, -1]
    return F.cross_entropy(logits, ids[0, place])


def tag(model, example, place):
    inputs = {key: column for key, column in example.items() if key != "labels"}
    logits, label = model(**inputs).logits[0, place], example["labels"][0, place]
    return F.cross_entropy(logits, label) if label >= 0 else logits.sum() * 0


def target_token(model, example, place):
    length = int(example["attention_mask"].sum())
    source, target = example["input_ids"][:, :length], example["labels"][0]
    if target[place] < 0:
        return next(iter(model.parameters())).sum() * 0
    start = torch.tensor([model.config.decoder_start_token_id])
    read = torch.cat([start, target[:place]])[None]
    logits = model(input_ids=source, decoder_input_ids=read, use_cache=False).logits[0, -1]
    return F.cross_entropy(logits, target[place])


CASES = {
    "gpt2": (gpt2, CausalLanguageModelling(), sequences, unpadded_sum, next_token, 1),
    "llama": (tied_llama, CausalLanguageModelling(), sequences, unpadded_sum, next_token, 1),
    "bert": (bert_of_tokens, TokenClassification(), tagged, sum_over_tags, tag, 1),
    "t5": (t5, Seq2SeqLanguageModelling(), pairs, token_by_token, target_token, 0),
}


def by_token(build, loss, token_loss, texts, others, first, *, of):
    """(Q, E, S): one place of a text after another as an example of its own."""
    width = next(iter(others if of == "query" else texts))["labels" if first == 0 else "input_ids"]
    places = range(width.shape[1])
    columns = []
    for place in places:
        if place < first:
            columns.append(torch.zeros(len(others), len(texts), dtype=torch.float64))
            continue

        def single(model, example, place=place):
            return token_loss(model, example, place)

        model = build(0)
        checkpoints = [
            (dict(build(seed).state_dict()), rate) for seed, rate in zip((1, 2), RATES, strict=True)
        ]
        names = tracin.trainable_names(model)
        training, query = (single, loss) if of == "training" else (loss, single)
        columns.append(
            tracin.influence_scores(model, checkpoints, training, texts, others, names, query)
        )
    return torch.stack(columns, dim=-1)


@pytest.mark.parametrize("of", ["training", "query"])
@pytest.mark.parametrize("case", CASES)
def test_scores_by_token_equal_a_gradient_per_token(case, of):
    build, task, batches, loss, token_loss, first = CASES[case]
    training, query = batches(5, 1), batches(2, 2)
    chosen = [4, 1]
    made = estimator(build, task, items(training), batch_size=3)
    found = made.token_influence(query, chosen, of=of)
    texts = [singles(training)[n] for n in chosen]
    expected = by_token(build, loss, token_loss, texts, singles(query), first, of=of)
    scale = float(expected.abs().max())
    torch.testing.assert_close(found.scores, expected, rtol=1e-9, atol=1e-10 * scale)
    whole = made.influence(query)[:, chosen]
    # RMS norms of transformers compute in float32, so a sum of gradients is rounded otherwise than
    # the gradient of a sum.
    rtol = 1e-6 if case in ("llama", "t5") else 1e-9
    torch.testing.assert_close(found.scores.sum(-1), whole, rtol=rtol, atol=rtol * scale)
    assert bool((found.scores[found.tokens == -100] == 0).all())
    assert found.indices.tolist() == [chosen, chosen]


def test_tokens_are_the_labels_of_the_texts_in_their_places():
    training, query = sequences(5, 1), sequences(2, 2)
    made = estimator(gpt2, CausalLanguageModelling(), items(training))
    found = made.token_influence(query, [3, 0])
    kept = training["input_ids"].masked_fill(training["attention_mask"] == 0, -100)
    kept[:, 0] = -100
    assert torch.equal(found.tokens, kept[[3, 0]].expand(2, -1, -1))
    pushed = made.token_influence(query, [3, 0], of="query")
    assert pushed.scores.shape == (2, 2, LENGTH)
    assert torch.equal(pushed.tokens[0, 0], pushed.tokens[0, 1])


def test_each_query_may_ask_about_its_own_strongest_examples():
    training, query = sequences(6, 1), sequences(3, 2)
    made = estimator(gpt2, CausalLanguageModelling(), items(training))
    top = made.influence(query, k=2)
    for of in ("training", "query"):
        found = made.token_influence(query, top.indices, of=of)
        torch.testing.assert_close(
            found.scores.sum(-1), top.influence_scores, rtol=1e-9, atol=1e-12
        )
        assert torch.equal(found.indices, top.indices)
        for q, n in ((0, int(top.indices[0, 1])), (2, int(top.indices[2, 0]))):
            alone = made.token_influence(query, [n], of=of).scores[q, 0]
            place = top.indices[q].tolist().index(n)
            torch.testing.assert_close(found.scores[q, place], alone, rtol=1e-9, atol=1e-12)


def ragged(count, seed):
    """Rows without padding."""
    batch = sequences(count, seed)
    lengths = batch["attention_mask"].sum(1).tolist()
    return [
        {"input_ids": row[:n].tolist()} for row, n in zip(batch["input_ids"], lengths, strict=True)
    ]


def padded(rows):
    ids = [torch.tensor(row["input_ids"]) for row in rows]
    mask = [torch.ones_like(row) for row in ids]
    pad = nn.utils.rnn.pad_sequence
    return {"input_ids": pad(ids, True), "attention_mask": pad(mask, True)}


def test_batches_collators_and_loaders_make_no_difference():
    rows, query = ragged(5, 1), sequences(2, 2)
    task, chosen = CausalLanguageModelling(), [1, 2]
    expected = estimator(gpt2, task, items(sequences(5, 1))).token_influence(query, chosen)
    loader = DataLoader(rows, batch_size=4, collate_fn=padded)
    for training, options in (
        (rows, {"collate_fn": padded, "batch_size": 1}),
        (rows, {"collate_fn": padded, "batch_size": "auto"}),
        (loader, {}),
    ):
        found = estimator(gpt2, task, training, **options).token_influence(query, chosen)
        width = found.scores.shape[-1]
        torch.testing.assert_close(
            found.scores, expected.scores[..., :width], rtol=1e-9, atol=1e-12
        )
        assert not expected.scores[..., width:].any()


def test_the_last_layer_and_projections_have_scores_by_token_too():
    training, query, task = items(sequences(5, 1)), sequences(2, 2), CausalLanguageModelling()
    states = [dict(gpt2(seed).state_dict()) for seed in (1, 2)]
    last = TracInCPFast(
        gpt2(0, tie_word_embeddings=False),
        "lm_head",
        training,
        [{**state, "lm_head.weight": state["lm_head.weight"].clone()} for state in states],
        learning_rates=RATES,
        task=task,
    )
    projected = estimator(gpt2, task, training, form=Projected(8, seed=1))
    for made in (last, projected):
        found = made.token_influence(query, [2, 0])
        whole = made.influence(query)[:, [2, 0]]
        torch.testing.assert_close(found.scores.sum(-1), whole, rtol=1e-9, atol=1e-12)


def test_what_has_no_scores_by_token_is_refused_with_the_remedy(tmp_path):
    training, query = items(sequences(5, 1)), sequences(2, 2)
    made = estimator(gpt2, CausalLanguageModelling(), training)
    for indices, message in (
        ([5], "indices has 5; expected places of training examples, from 0 to 5 - 1"),
        ([-1], "indices has -1"),
        ([0.5], "type torch.float32; expected ints"),
        ([], "expected ints"),
        ([[0], [1], [2]], r"shape \(3, 1\); expected ints, \(E,\) for all queries or \(2, K\)"),
        ("first", "indices is a str"),
    ):
        with pytest.raises(InputError, match=message):
            made.token_influence(query, indices)
    with pytest.raises(InputError, match="of is 'both'; expected 'training' or 'query'"):
        made.token_influence(query, [0], of="both")
    whole = estimator(bert, SequenceClassification(), items(classification(5, 1)))
    with pytest.raises(InputError, match="that of SequenceClassification; pass it a task such"):
        whole.token_influence(classification(2, 2), [0])


def test_a_text_without_a_label_that_counts_is_refused_by_its_place():
    batch = tagged(5, 1)
    batch["labels"][3] = -100
    made = estimator(bert_of_tokens, TokenClassification(), items(batch), batch_size=5)
    with pytest.raises(BatchError, match="example 3 of a batch of 5 has no label that counts"):
        made.influence(tagged(2, 2))
    with pytest.raises(BatchError, match="no label that counts"):
        made.token_influence(tagged(2, 2), [3])
