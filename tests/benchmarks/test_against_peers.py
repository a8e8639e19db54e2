from benchmarks.against_peers import markdown, merged
from benchmarks.compared import METHODS


def result(*methods, torch="2.13.0", measured="2026-01-02"):
    return {
        "header": {"measured": measured, "torch": torch},
        "workload": {"says": "a model", "N": 1000, "Q": 10, "C": 2},
        "rows": [
            {"method": method, "title": METHODS[method].title, "questions": {}}
            for method in methods
        ],
    }


def methods(merged_result):
    return [row["method"] for row in merged_result["rows"]]


def test_rows_of_other_methods_stay_where_versions_are_the_same():
    earlier = result("headwater", "vmap-grad", "dattri", measured="2026-01-01")
    now = result("headwater", "captum-per-sample", "dattri")
    both = merged(earlier, now)
    assert methods(both) == ["headwater", "captum-per-sample", "dattri", "vmap-grad"]
    assert both["rows"][2] is now["rows"][2]


def test_rows_measured_with_other_versions_are_left_out():
    earlier = result("headwater", "vmap-grad", torch="2.12.0")
    assert methods(merged(earlier, result("headwater", "dattri"))) == ["headwater", "dattri"]
    assert methods(merged(None, result("headwater"))) == ["headwater"]


def test_what_was_measured_with_is_said_once_where_it_is_the_same():
    same = markdown({"W1": result("headwater"), "W2": result("headwater")})
    assert same.count("Measured on") == 1
    other = markdown({"W1": result("headwater"), "W2": result("headwater", torch="2.12.0")})
    assert other.count("Measured on") == 2
    assert other.index("### W1") < other.index("### W2")
