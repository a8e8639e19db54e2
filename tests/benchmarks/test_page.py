import pytest

from benchmarks import page


def test_a_place_is_replaced_and_the_rest_of_the_page_stays(tmp_path):
    path = tmp_path / "page.md"
    path.write_text("before\n<!-- peers: begin -->\nold\n<!-- peers: end -->\nafter\n")
    page.put(path, "peers", "new")
    page.put(path, "peers", "newer")
    assert path.read_text() == (
        "before\n<!-- peers: begin -->\n\nnewer\n\n<!-- peers: end -->\nafter\n"
    )
    assert list(tmp_path.iterdir()) == [path]


def test_a_page_that_is_not_there_is_made(tmp_path):
    path = tmp_path / "folder" / "page.md"
    page.put(path, "peers", "text")
    assert "text" in path.read_text()


def test_a_page_without_the_place_is_left_alone(tmp_path):
    path = tmp_path / "page.md"
    path.write_text("mine\n")
    with pytest.raises(ValueError, match="no place marked"):
        page.put(path, "peers", "text")
    assert path.read_text() == "mine\n"


def test_results_of_an_earlier_run_are_read_back(tmp_path):
    assert page.load(tmp_path / "none.json") == {}
    page.write_json(tmp_path / "some.json", {"W1": {"×": 1}})
    assert page.load(tmp_path / "some.json") == {"W1": {"×": 1}}
