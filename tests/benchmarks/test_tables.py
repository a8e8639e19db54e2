from benchmarks.answering import ALL_SCORES, SELF_INFLUENCE, TOP
from benchmarks.tables import facts, table, workload_section


def timed(ratio, *, rounds=5, peak=None):
    times = {"ratio": ratio, "from": ratio - 0.01, "to": ratio + 0.01, "rounds": rounds}
    return times | {"memory": peak}


def cells(section, title):
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in section.splitlines()
        if line.startswith(f"| {title} |")
    ]


def section(**peer):
    own = {
        "title": "headwater",
        "N": 1000,
        "batch": None,
        "questions": {
            ALL_SCORES: timed(0.5, peak={"peak": 3 * 2**20, "plain": 2 * 2**20, "answer": 2**20}),
            SELF_INFLUENCE: timed(0.25),
            TOP: timed(0.5),
        },
        "from autograd": 1e-7,
    }
    row = {"title": "peer", "N": 128, "batch": 64, "questions": {}} | peer
    says = {"says": "a model", "N": 1000, "Q": 10, "C": 2}
    return workload_section("W1", {"workload": says, "rows": [own, row]})


def test_nothing_in_a_cell_ends_it():
    written = table(["a", "b"], [["x | y", "two\nlines"]])
    assert written.splitlines()[-1] == r"| x \| y | two lines |"


def test_a_peer_stands_beside_its_multiple_of_headwaters_ratio():
    questions = {ALL_SCORES: timed(50.0), SELF_INFLUENCE: timed(1.0, rounds=2)}
    times, _, _ = cells(section(questions=questions, N=1000), "peer")
    assert times[1:4] == ["all", "64", "50.0 (50.0 to 50.0); × 100"]
    assert times[4] == "1.00 (0.99 to 1.01), 2 rounds; × 4.00"


def test_a_peer_with_fewer_examples_is_compared_with_headwater_on_as_many():
    questions = {ALL_SCORES: timed(50.0), SELF_INFLUENCE: timed(1.0)}
    there = {ALL_SCORES: 2.5}
    times, _, _ = cells(section(questions=questions, **{"headwater there": there}), "peer")
    assert times[1:4] == ["first 128", "64", "50.0 (50.0 to 50.0); × 20.0 of 2.50"]
    assert times[4] == "1.00 (0.99 to 1.01)"


def test_memory_that_could_not_be_measured_says_why():
    questions = {ALL_SCORES: timed(1.0, peak={"error": "killed"})}
    _, memory, _ = cells(section(questions=questions), "peer")
    assert memory[2] == "fails: killed"


def test_headwater_has_all_examples_and_no_multiple():
    times, memory, scores = cells(section(), "headwater")
    assert times[1:4] == ["all", "own choice", "0.50 (0.49 to 0.51)"]
    assert memory[2] == "3.00 MB, × 1.50 (1.00 MB of it the answer)"
    assert scores[-1] == "1.0e-07 from an autograd loop in float64"


def test_what_fails_or_is_not_offered_is_said_in_its_place():
    questions = {
        ALL_SCORES: {"error": "KeyError: 'x'"},
        SELF_INFLUENCE: {"not offered": "has none"},
    }
    times, memory, scores = cells(section(questions=questions), "peer")
    assert times[3:] == ["fails: KeyError: 'x'", "not offered: has none", "fails: no answer"]
    assert memory[2:] == ["–", "–", "–"]
    assert scores[-1] == "no scores"


def test_a_known_difference_is_said_with_its_reason():
    apart = {ALL_SCORES: {"largest": 0.4, "median": 0.3}}
    *_, scores = cells(
        section(
            difference=apart,
            differs="leaves out the bias",
            **{"over what it covers": {"largest": 1e-7, "median": 1e-8}},
        ),
        "peer",
    )
    assert scores[1] == "4.0e-01 (3.0e-01)"
    assert scores[3].startswith("leaves out the bias; over the parameters it covers: 1.0e-07")


def test_a_difference_without_a_reason_is_called_unexplained():
    *_, scores = cells(
        section(difference={SELF_INFLUENCE: {"largest": 0.01, "median": 0.01}}), "peer"
    )
    assert scores[3] == "unexplained: more than 0.001"


def test_a_difference_of_single_queries_is_not_called_one_of_all():
    *_, scores = cells(section(difference={ALL_SCORES: {"largest": 0.01, "median": 1e-7}}), "peer")
    assert scores[3] == "more than 0.001 for single examples, not for the median one"


def test_same_scores_are_called_so():
    *_, scores = cells(section(difference={ALL_SCORES: {"largest": 1e-6, "median": 1e-7}}), "peer")
    assert scores[3] == "same scores"


def test_the_facts_are_one_sentence():
    said = facts({"measured": "2026-01-02", "torch": "2.13.0", "threads": 1})
    assert said == "Measured on 2026-01-02 with torch 2.13.0, threads 1."
