"""Scores with names say what a plain loop says, however they are added up, ranked and written."""

import csv
import json
import sys

import pytest
import torch
from torch.utils.data import TensorDataset

from headwater import (
    GradientStore,
    InputError,
    MissingDependencyError,
    Projected,
    TracInCP,
    TracInCPFastRandProj,
)
from headwater.results import scores as results_scores
from tests.estimators.small import (
    QUERIES,
    RATES,
    TRAINING,
    N,
    Stream,
    assert_close,
    dataset,
    expected_scores,
    expected_self_influence,
    labels,
    make,
    rows,
)
from tests.oracles import tracin

WHO = list("abacbba")
EXAMPLES = {"id": [f"ex {n}" for n in range(N)], "who": WHO, "label": TRAINING[1]}
KNOWN = {"id": ["first", "second"], "label": [5, 5]}


def scores(estimator=None, **options):
    return (estimator or make()).attribute(*QUERIES, examples=EXAMPLES, queries=KNOWN, **options)


def by_who(columns, how="sum"):
    """Columns added up by hand, group after group in the order in which they appear."""
    found = []
    for group in ("a", "b", "c"):
        members = [n for n in range(N) if WHO[n] == group]
        total = sum(columns[:, n] for n in members)
        found.append(total / len(members) if how == "mean" else total)
    return torch.stack(found, dim=1)


def test_scores_and_self_influence_are_those_of_the_oracle():
    assert_close(scores().tensor(), expected_scores())
    assert_close(make().attribute().tensor()[0], expected_self_influence())


def test_nothing_is_computed_before_it_is_asked_for(monkeypatch):
    estimator = make()
    monkeypatch.setattr(estimator._streamed, "_run", lambda *_: pytest.fail("it computes"))
    asked = scores(estimator).over_queries()
    assert (
        repr(asked) == f"Scores(influence, sum over 2 queries, rows=1, examples={N}, by TracInCP)"
    )


@pytest.mark.parametrize("side", ["proponents", "opponents"])
def test_the_strongest_are_those_of_the_oracle(side):
    indices, values = tracin.top_k(expected_scores(), 3, side == "proponents")
    both = scores().top_k(3, side="both")
    for top in (scores().top_k(3, side=side), both):
        found, strongest = top.parts[side]
        assert torch.equal(found, indices)
        assert_close(strongest, values)
    assert list(both.parts) == ["proponents", "opponents"]


def test_rows_of_the_strongest_name_query_side_rank_and_example():
    expected = expected_scores()
    found = list(scores().top_k(2, side="both"))
    assert [(row["query"], row["query_label"], row["side"], row["rank"]) for row in found] == [
        (query, 5, side, rank)
        for query in ("first", "second")
        for side in ("proponent", "opponent")
        for rank in (1, 2)
    ]
    for row in found:
        n = row["index"]
        assert (row["id"], row["who"], row["label"]) == (f"ex {n}", WHO[n], int(TRAINING[1][n]))
        query = ["first", "second"].index(row["query"])
        assert row["score"] == pytest.approx(float(expected[query, n]), rel=1e-9)


def test_rows_of_self_influence_have_neither_query_nor_side():
    found = list(make().attribute(examples=EXAMPLES).top_k(2))
    order = expected_self_influence().argsort(descending=True).tolist()[:2]
    assert [row["index"] for row in found] == order
    assert list(found[0]) == ["rank", "id", "index", "who", "label", "self_influence"]


@pytest.mark.parametrize("how", ["sum", "mean"])
def test_sums_over_queries(how):
    total = expected_scores().sum(dim=0, keepdim=True)
    expected = total / 2 if how == "mean" else total
    assert_close(scores().over_queries(how=how).tensor(), expected)
    assert scores().over_queries(how=how).query_ids == ["all"]


@pytest.mark.parametrize("how", ["sum", "mean"])
def test_sums_over_groups_of_queries(how):
    queries = tuple(torch.cat([part, part[:1]]) for part in QUERIES)
    expected = expected_scores()
    expected = torch.stack([expected[0] * (2 if how == "sum" else 1), expected[1]])
    asked = make().attribute(*queries, queries={"kind": ["x", "y", "x"]})
    grouped = asked.over_queries("kind", how=how)
    assert_close(grouped.tensor(), expected)
    assert grouped.query_ids == ["x", "y"]
    assert grouped.top_k(1).table()["query_kind"] == ["x", "y"]


@pytest.mark.parametrize("how", ["sum", "mean"])
def test_sums_over_groups_of_training_examples(how):
    grouped = scores().over_examples("who", how=how)
    assert_close(grouped.tensor(), by_who(expected_scores(), how))
    assert grouped.ids == ["a", "b", "c"]
    table = grouped.top_k(3).table()
    assert sorted(zip(table["who"], table["group_size"].tolist(), strict=True)) == sorted(
        [("a", 3), ("b", 3), ("c", 1)] * 2
    )


def test_groups_may_be_given_as_they_are_and_both_ways_at_once():
    grouped = make().attribute(*QUERIES).over_queries([1, 1]).over_examples(WHO)
    assert_close(grouped.tensor(), by_who(expected_scores().sum(dim=0, keepdim=True)))


def test_self_influence_of_groups():
    own = make().attribute().over_examples(WHO, how="mean").tensor()
    assert_close(own, by_who(expected_self_influence()[None], "mean"))


def test_all_scores_are_never_collected_where_they_need_not_be(monkeypatch, tmp_path):
    monkeypatch.setattr(results_scores, "AllScores", lambda *_: pytest.fail("it collects"))
    asked = scores(make(memory_budget=2000))
    asked.top_k(2, side="both")
    asked.over_queries().top_k(2)
    asked.over_queries("label").over_examples("who")
    asked.to_csv(tmp_path / "scores.csv")
    with pytest.raises(pytest.fail.Exception):
        asked.tensor()


@pytest.mark.parametrize("budget", [2000, 20_000, "1GB"])
def test_neither_sums_nor_tables_depend_on_the_memory_budget(budget, tmp_path):
    asked = scores(make(memory_budget=budget))
    assert_close(asked.over_examples("who").tensor(), by_who(expected_scores()))
    total = expected_scores().sum(dim=0, keepdim=True)
    assert_close(asked.over_queries().tensor(), total)
    asked.to_csv(tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    columns = [[float(row[f"score_{q}"]) for row in table] for q in KNOWN["id"]]
    found = torch.tensor(columns, dtype=torch.float64)
    assert_close(found, expected_scores())


def test_computed_scores_answer_from_memory(monkeypatch):
    estimator = make()
    held = scores(estimator).compute()
    monkeypatch.setattr(estimator._streamed, "_run", lambda *_: pytest.fail("it computes again"))
    assert_close(held.tensor(), expected_scores())
    assert_close(held.over_queries().tensor(), expected_scores().sum(dim=0, keepdim=True))
    assert torch.equal(held.top_k(2).parts["proponents"][0], tracin.top_k(expected_scores(), 2)[0])


def test_a_stream_of_examples_is_named_by_place():
    streamed = make(influence_src_dataset=Stream()).attribute(*QUERIES)
    assert streamed.ids is None
    assert_close(streamed.tensor(), expected_scores())
    assert [row["id"] for row in streamed.top_k(1)] == [row["index"] for row in streamed.top_k(1)]


def test_targets_none_measures_the_output():
    estimator = make(
        loss_fn=None,
        model=OneOutput().double(),
        checkpoints=[OneOutput().double().state_dict()],
        learning_rates=[0.3],
    )
    found = estimator.attribute(QUERIES[0])
    assert_close(found.tensor(), estimator.influence(QUERIES[0]))
    assert "query's output" in found.meaning.unit
    assert "query's loss" in scores().meaning.sign


class OneOutput(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(5, 1)
        torch.nn.init.constant_(self.layer.weight, 0.2)

    def forward(self, x):
        return self.layer(x)[:, 0] ** 2


def test_a_projection_names_itself():
    estimator = make(form=Projected(8, seed=3))
    found = estimator.attribute(*QUERIES)
    assert_close(found.tensor(), estimator.influence(*QUERIES))
    assert found.meaning.estimator["form"] == repr(Projected(8, seed=3))
    assert found.meaning.as_dict()["estimator"]["checkpoints"] == 2


def test_vectors_answer_too():
    estimator = make(TracInCPFastRandProj, final_fc_layer="fc", projection_dim=16)
    found = estimator.attribute(*QUERIES)
    assert_close(found.tensor(), estimator.influence(*QUERIES))
    assert_close(
        found.over_queries().tensor(), estimator.influence(*QUERIES).sum(dim=0, keepdim=True)
    )
    assert_close(estimator.attribute().tensor()[0], estimator.influence())


def test_a_subclass_is_asked_through_its_own_hooks():
    class Halved(TracInCP):
        def _influence(self, inputs, targets=None, show_progress=False):
            return super()._influence(inputs, targets, show_progress) / 2

    found = make(Halved).attribute(*QUERIES)
    assert_close(found.tensor(), expected_scores() / 2)
    assert_close(found.over_queries().tensor(), expected_scores().sum(dim=0, keepdim=True) / 2)


# --- Stores ---------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path):
    return GradientStore.build(make(), tmp_path / "s", dtype="float64", ids=EXAMPLES["id"])


def test_a_store_has_its_own_ids(store):
    found = store.attribute(*QUERIES)
    assert found.ids == EXAMPLES["id"]
    assert_close(found.tensor(), expected_scores())
    assert_close(found.over_queries().tensor(), expected_scores().sum(dim=0, keepdim=True))
    assert_close(store.attribute().tensor()[0], expected_self_influence())
    assert found.meaning.estimator["dtype"] == "float64"


def test_columns_are_found_by_id_in_whatever_order_and_after_deletion(store):
    store.delete(["ex 0", "ex 4"])
    turned = {name: list(reversed(list(column))) for name, column in EXAMPLES.items()}
    grouped = store.attribute(*QUERIES, examples=turned).over_examples("who")
    expected = expected_scores()
    expected[:, [0, 4]] = 0
    left = by_who(expected)
    # The first that is left is a b.
    assert grouped.ids == ["b", "a", "c"]
    assert_close(grouped.tensor(), left[:, [1, 0, 2]])


def test_an_example_that_columns_do_not_know_is_an_error(store):
    store.append(TensorDataset(rows(1, 30, 5), labels(1, 31)), ids=["new"])
    with pytest.raises(InputError, match=r"the id 'new', which isn't among the 7 ids"):
        store.attribute(*QUERIES, examples=EXAMPLES)


def test_an_estimator_on_a_store_has_the_ids_of_the_store(store):
    found = make(influence_src_dataset=store.path).attribute(*QUERIES, examples=EXAMPLES)
    assert found.ids == EXAMPLES["id"]
    assert_close(found.over_examples("who").tensor(), by_who(expected_scores()))
    assert found.meaning.estimator["store"] == str(store.path)


# --- Tables ---------------------------------------------------------------------------------------


def test_the_frame_has_a_row_per_example_and_says_what_it_means():
    pandas = pytest.importorskip("pandas")
    frame = scores().to_pandas()
    assert list(frame) == ["id", "index", "who", "label", "score_first", "score_second"]
    assert frame["label"].tolist() == TRAINING[1].tolist()
    assert_close(
        torch.tensor(frame[["score_first", "score_second"]].to_numpy().T), expected_scores()
    )
    assert frame.attrs["headwater"] == scores().meaning.as_dict()
    named = scores().top_k(2).to_pandas()
    assert isinstance(named, pandas.DataFrame)
    assert len(named) == 4


def test_a_frame_of_what_is_known_will_do():
    pandas = pytest.importorskip("pandas")
    known = pandas.DataFrame({"id": EXAMPLES["id"], "who": WHO})
    found = make().attribute(*QUERIES, examples=known).over_examples("who")
    assert_close(found.tensor(), by_who(expected_scores()))


def test_parquet_is_the_frame_with_its_meaning(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    pytest.importorskip("pandas")
    scores().to_parquet(tmp_path / "all.parquet")
    scores().top_k(2, side="both").to_parquet(tmp_path / "top.parquet")
    table = parquet.read_table(tmp_path / "all.parquet")
    assert table.to_pydict() == scores().to_pandas().to_dict("list")
    assert json.loads(table.schema.metadata[b"headwater"]) == scores().meaning.as_dict()
    top = parquet.read_table(tmp_path / "top.parquet")
    assert top.to_pylist() == list(scores().top_k(2, side="both"))


def test_a_column_may_lack_entries_and_mix_kinds(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    odd = {
        "text": [None] * 6 + ["late"],
        "number": [None, *range(6)],
        "mixed": [1, "x", *[None] * 5],
        "flag": [True, False] * 3 + [True],
    }
    make().attribute(examples=odd).to_parquet(tmp_path / "odd.parquet")
    found = parquet.read_table(tmp_path / "odd.parquet").to_pydict()
    assert found["text"] == odd["text"]
    assert found["number"][1:] == list(range(6))
    assert found["mixed"][:3] == ["1", "x", None]
    assert found["flag"] == odd["flag"]


def test_csv_gives_back_a_float32_score_to_the_last_digit(tmp_path):
    estimator = make(
        model=make().model.float(),
        influence_src_dataset=TensorDataset(TRAINING[0].float(), TRAINING[1]),
    )
    queries = QUERIES[0].float(), QUERIES[1]
    estimator.attribute(*queries).to_csv(tmp_path / "s.csv")
    with (tmp_path / "s.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    found = torch.tensor([[float(row[f"score_{q}"]) for row in table] for q in range(2)])
    assert torch.equal(found.float(), estimator.influence(*queries))
    assert max(len(row["score_0"]) for row in table) <= 14


def test_a_file_is_whole_or_absent(tmp_path, monkeypatch):
    path = tmp_path / "scores.csv"
    path.write_text("before")

    class Failing(torch.utils.data.Dataset):
        def __len__(self):
            return N

        def __getitem__(self, n):
            if n == N - 1:
                raise OSError("gone")
            return dataset()[n]

    with pytest.raises(OSError, match="gone"):
        make(influence_src_dataset=Failing()).attribute(*QUERIES).to_csv(path)
    assert path.read_text() == "before"
    assert [one.name for one in tmp_path.iterdir()] == ["scores.csv"]


def test_a_pass_that_starts_anew_writes_its_table_anew(tmp_path):
    class Twice(results_scores.Columns):
        rows, count = 1, 3

        def into(self, sink, *, bounded):
            sink().add(0, torch.full((1, 2), 9.0))
            filled = sink()
            filled.add(0, torch.tensor([[1.0, 2.0, 3.0]]))
            return filled

    asked = make().attribute()
    asked._columns = Twice()
    asked._examples = results_scores.Names("training example", {}, 3)
    asked.to_csv(tmp_path / "s.csv")
    assert (tmp_path / "s.csv").read_text().split() == [
        "id,self_influence",
        "0,1.0",
        "1,2.0",
        "2,3.0",
    ]


@pytest.mark.parametrize(
    ("module", "ask"),
    [
        ("pandas", lambda found, path: found.to_pandas()),
        ("pyarrow", lambda found, path: found.to_parquet(path)),
        ("pyarrow", lambda found, path: found.top_k(1).to_parquet(path)),
    ],
)
def test_a_missing_package_is_said_with_how_to_install_it(monkeypatch, tmp_path, module, ask):
    monkeypatch.setitem(sys.modules, module, None)
    match = rf"needs {module}, which isn't installed: pip install 'headwater\[tables\]'"
    with pytest.raises(MissingDependencyError, match=match):
        ask(scores(), tmp_path / "t")
    assert not list(tmp_path.iterdir())


# --- Mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("examples", "match"),
    [
        ({"id": [1, 2]}, "column 'id' of the training examples has 2 entries for 7"),
        ({"id": [0] * N}, "two of the training examples have the id 0"),
        ({"score": [0] * N}, "column 'score' .* call it otherwise"),
        ({"query_label": [0] * N}, "column 'query_label' .* call it otherwise"),
        ({"who": "abacbba"}, "column 'who' .* is a str; expected a list"),
        ({"who": [()] * N}, "has an entry of type tuple; expected texts, numbers or None"),
    ],
)
def test_columns_that_do_not_fit_are_refused_before_anything_is_computed(examples, match):
    with pytest.raises(InputError, match=match):
        make().attribute(*QUERIES, examples=examples)


@pytest.mark.parametrize(
    ("ask", "match"),
    [
        (lambda s: s.top_k(-1), "k is -1; expected an int of at least 0"),
        (lambda s: s.top_k(True), "k is True"),
        (lambda s: s.top_k(1, side="up"), "side is 'up'; expected 'proponents', 'opponents' or"),
        (lambda s: s.over_examples("where"), "no column 'where' .*; known: 'id', 'who', 'label'"),
        (lambda s: s.over_examples([1, 2]), "has 2 entries for 7 training examples"),
        (lambda s: s.over_queries("where"), "no column 'where' of the queries"),
        (lambda s: s.over_queries(how="max"), "how is 'max'; expected 'sum' or 'mean'"),
        (lambda s: s.over_examples("who", how="max"), "how is 'max'"),
    ],
)
def test_questions_that_make_no_sense_are_refused(ask, match):
    with pytest.raises(InputError, match=match):
        ask(scores())


def test_self_influence_has_no_queries_to_add_up():
    with pytest.raises(InputError, match="self-influence has no queries"):
        make().attribute().over_queries()


@pytest.mark.parametrize("count", [N - 1, N + 1])
@pytest.mark.parametrize(
    "ask",
    [
        lambda found, path: found.tensor(),
        lambda found, path: found.over_examples("who"),
        lambda found, path: found.to_csv(path),
        lambda found, path: found.top_k(N),
    ],
)
def test_a_stream_of_another_length_than_its_columns_is_noticed(count, ask, tmp_path):
    estimator = make(influence_src_dataset=Stream())
    found = estimator.attribute(*QUERIES, examples={"who": ["a"] * count})
    with pytest.raises(InputError, match=f"{count}"):
        ask(found, tmp_path / "s.csv")
    assert not list(tmp_path.iterdir())


def test_rates_enter_once():
    ten = make(learning_rates=[10 * rate for rate in RATES]).attribute(*QUERIES)
    assert_close(ten.over_examples(WHO).tensor(), 10 * by_who(expected_scores()))
