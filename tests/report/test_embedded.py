import json

import pytest

from headwater.report.page.embedded import embedded_json
from tests.report.conftest import HOSTILE


def test_nothing_in_a_value_ends_its_element_and_reading_gives_it_back():
    value = {text: [text, {"deep": text}] for text in HOSTILE}
    text = embedded_json(value)
    assert not any(mark in text for mark in "<>&\u2028\u2029")
    assert json.loads(text) == value


def test_a_number_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        embedded_json({"score": float("nan")})
