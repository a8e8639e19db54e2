"""The page driven as a person does, in a real browser."""

import csv
import json

import pytest
from torch import nn
from torch.utils.data import TensorDataset

from headwater import InfluenceFunction, Report
from headwater.cleaning import Decisions, fingerprint_of
from tests.report.conftest import linear

pytestmark = pytest.mark.end_to_end


def rows(tab):
    return tab.locator("#rows tr")


def column(tab, name):
    return tab.locator(f"#rows .col-{name}").all_inner_texts()


def embedded(tab):
    return tab.evaluate("JSON.parse(document.getElementById('data').textContent)")


def decided(tab):
    with tab.expect_download() as download:
        tab.click("#export-json")
    return download.value


def test_the_most_suspicious_example_stands_first(opened, page):
    tab = opened(page)
    assert rows(tab).count() == 50
    suspicion = embedded(tab)["table"]["scores"]["suspicion"]
    assert suspicion == sorted(suspicion, reverse=True)
    assert tab.locator("#detail h2").inner_text() == f"Example {column(tab, 'id')[0]}"


def test_a_click_on_a_heading_sorts_and_another_turns_the_order(opened, page):
    tab = opened(page)
    heading = tab.get_by_role("button", name="Self-influence")
    heading.click()
    data = embedded(tab)
    by_self_influence = sorted(
        range(data["onPage"]), key=lambda row: -data["table"]["scores"]["self-influence"][row]
    )
    assert column(tab, "id")[0] == str(data["shown"]["id"][by_self_influence[0]])
    tab.get_by_role("button", name="Self-influence").click()
    assert column(tab, "id")[0] == str(data["shown"]["id"][by_self_influence[-1]])
    assert tab.locator("th[aria-sort]").get_attribute("aria-sort") == "ascending"


def test_filters_and_search_leave_what_fits(opened, page):
    tab = opened(page)
    tab.select_option("#filter-label", label="3")
    assert {text.split()[0] for text in column(tab, "given")} == {"3"}
    tab.select_option("#filter-label", "")
    tab.fill("#search", "photo")
    assert rows(tab).count() == 50
    assert "65 of 130" in tab.inner_text("#shown-count")
    tab.fill("#search", "no such text")
    assert rows(tab).count() == 0
    assert "Nothing fits" in tab.inner_text("#page-of")
    tab.fill("#search", "")
    tab.select_option("#filter-show", "suggested")
    data = embedded(tab)
    differing = sum(
        one != other
        for one, other in zip(
            data["table"]["suggested"], data["shown"]["given"][: data["onPage"]], strict=True
        )
    )
    assert f"{differing} of 130" in tab.inner_text("#shown-count")


def test_decisions_by_keys_outlive_a_reload_and_are_exported(opened, page, run, tmp_path):
    tab = opened(page)
    for key in ["r", "j", "y", "ArrowDown", "d", "k", "k", "k", "u"]:
        # The list moves on by itself after y, r and d.
        tab.keyboard.press(key)
    before = json.loads(decided(tab).path().read_text())
    tab.reload()
    assert "2 decided: 0 keep, 1 relabel, 1 drop" in tab.inner_text("#decided-count")
    download = decided(tab)
    download.save_as(tmp_path / "decisions.json")
    assert json.loads((tmp_path / "decisions.json").read_text()) == before
    read = Decisions.read(tmp_path / "decisions.json")
    data = embedded(tab)
    first = data["shown"]["place"][0]
    assert read.data == fingerprint_of(run.estimator())
    assert {one.index: (one.decision, one.label) for one in read}[first] == (
        "relabel",
        data["table"]["suggested"][0],
    )
    assert read.counts() == {"keep": 0, "relabel": 1, "drop": 1}
    with tab.expect_download() as csv_file:
        tab.click("#export-csv")
    csv_file.value.save_as(tmp_path / "decisions.csv")
    assert list(Decisions.read(tmp_path / "decisions.csv")) == list(read)


def test_another_label_is_chosen_from_the_list(opened, page):
    tab = opened(page)
    tab.keyboard.press("l")
    tab.locator("#new-label").select_option(label="9")
    assert "✎ 9" in column(tab, "decision")[0]
    tab.keyboard.press("Escape")
    tab.keyboard.press("j")
    tab.keyboard.press("d")
    assert "✕ drop" in column(tab, "decision")[1]


def test_decisions_are_loaded_from_a_file_and_odd_ones_left_out(opened, page, run, tmp_path):
    tab = opened(page)
    told = []
    tab.on("dialog", lambda dialog: (told.append(dialog.message), dialog.accept()))
    content = {
        "format": "headwater-decisions",
        "version": 1,
        "data": fingerprint_of(run.estimator()),
        "decisions": [
            {"index": 4, "id": None, "decision": "drop", "label": None},
            {"index": 4000, "id": None, "decision": "drop", "label": None},
            {"index": 5, "id": None, "decision": "burn", "label": None},
        ],
    }
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(content))
    tab.set_input_files("#import-file", file)
    tab.wait_for_function("document.getElementById('decided-count').textContent.startsWith('1 ')")
    assert told == ["2 of 3 decisions can't be meant and were left out."]
    file.write_text(json.dumps({**content, "data": "another"}))
    tab.set_input_files("#import-file", file)
    tab.wait_for_timeout(100)
    assert "other training data" in told[-1]
    tab.click("#forget")
    assert tab.inner_text("#decided-count") == "nothing decided yet"


def test_pages_and_parts_are_reached_by_keys(opened, page):
    tab = opened(page)
    tab.keyboard.press("n")
    assert "Page 2 of 3" in tab.inner_text("#page-of")
    tab.keyboard.press("End")
    assert "Page 3 of 3" in tab.inner_text("#page-of")
    assert tab.locator("#rows tr[aria-current]").evaluate("one => one === document.activeElement")
    tab.keyboard.press("?")
    assert tab.locator("#help").is_visible()
    tab.keyboard.press("Escape")
    tab.keyboard.press("2")
    assert tab.locator("#why").is_visible()
    tab.keyboard.press("j")
    assert tab.locator("#queries [aria-current]").evaluate("one => one === document.activeElement")
    tab.locator("#tab-why").focus()
    tab.keyboard.press("ArrowRight")
    assert tab.locator("#overview").is_visible()
    assert tab.get_by_role("tab", selected=True).inner_text() == "Overview"


def test_charts_are_drawn_in_both_themes_and_carry_words(opened, page):
    tab = opened(page)
    tab.keyboard.press("3")
    for theme in ("light", "dark"):
        tab.select_option("#theme", theme)
        tab.wait_for_function("document.querySelectorAll('#overview .chart svg').length === 4")
        labels = tab.locator("#overview .chart[role=graphics-document]").evaluate_all(
            "all => all.map((one) => one.getAttribute('aria-label'))"
        )
        assert len(labels) == 4
        assert all(label and ". " in label for label in labels)
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 22, 27)"
    tab.reload()
    assert tab.evaluate("document.documentElement.dataset.theme") == "dark"


def test_a_proponent_leads_to_its_row_among_the_suspects(opened, page):
    tab = opened(page)
    tab.keyboard.press("2")
    link = tab.locator("#explanation .strip .link").first
    name = link.inner_text()
    link.click()
    assert tab.locator("#suspects").is_visible()
    assert tab.locator("#rows tr[aria-current] .col-id").inner_text() == name.removeprefix("#")


def test_nothing_from_data_runs_or_breaks_the_page(opened, hostile_page, tmp_path):
    tab = opened(hostile_page)
    for part in ("1", "2", "3"):
        tab.keyboard.press(part)
        tab.wait_for_timeout(300)
    tab.keyboard.press("1")
    tab.keyboard.press("r")
    assert tab.evaluate("window.hurt === undefined")
    assert tab.evaluate("document.querySelectorAll('main script, main img').length") == 0
    data = embedded(tab)
    assert data["shown"]["entry"][0] in tab.locator("#rows .col-example").first.inner_text()
    with tab.expect_download() as download:
        tab.click("#export-csv")
    line = list(csv.DictReader(download.value.path().read_text(encoding="utf-8").splitlines()))
    assert len(line) >= 1


def test_on_a_narrow_screen_nothing_sticks_out(opened, page):
    tab = opened(page)
    tab.set_viewport_size({"width": 390, "height": 800})
    for part in ("1", "2", "3"):
        tab.keyboard.press(part)
        tab.wait_for_timeout(150)
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_report_by_another_method_leaves_out_what_it_has_not(opened, run, tmp_path):
    model = linear()
    model.load_state_dict(run.checkpoints[-1][0])
    estimator = InfluenceFunction(
        model, TensorDataset(run.images, run.given), nn.CrossEntropyLoss(reduction="none")
    )
    report = Report(estimator, run.query_images[:3], run.query_labels[:3], traced=3)
    assert "curvature" in report.provenance["method"]["formula"]
    tab = opened(report.write(tmp_path))
    assert tab.get_by_role("button", name="Self-influence").is_visible()
    assert tab.get_by_role("button", name="Suggested").count() == 0
    tab.keyboard.press("r")
    tab.keyboard.press("2")
    tab.keyboard.press("3")
    tab.wait_for_function("document.querySelectorAll('#overview .chart svg').length === 2")
