import base64
import re
import struct
import zlib
from html.parser import HTMLParser

import pytest
import torch

from headwater.demo.page import render
from headwater.demo.picture import data_url, png


class Page(HTMLParser):
    """Collects the tags that a browser would see, checking that each is closed in its turn."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, html):
        super().__init__()
        self.tags = []
        self.text = ""
        self._open = []
        self.feed(html)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def html(results):
    return render(results)


def test_nothing_is_loaded_from_outside_the_page(html):
    page = Page(html)
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base"}
        assert not {"href", "srcset", "data", "action", "background"} & attributes.keys()
        if "src" in attributes:
            assert attributes["src"].startswith("data:image/png;base64,")
    style = html[html.index("<style>") : html.index("</style>")]
    assert "@import" not in style
    assert "url(" not in style


def test_every_label_is_escaped(html, results):
    hostile = results.class_names[0]
    assert hostile not in html
    assert "<script" not in html
    assert hostile in Page(html).text
    assert "loss <b>" in Page(html).text


def test_flipped_labels_are_marked_and_right_ones_are_not(html):
    assert html.count('<li class="flipped">') == 3  # one suspect, two explaining images
    assert html.count('<li class="right">') == 9 + 4


def test_the_page_shows_the_figures_of_the_table(html):
    text = re.sub(r"\s+", " ", Page(html).text)
    assert "1 of 1" in text
    assert "66.7%" in text  # test accuracy, 2 of 3
    assert "−2.5" in text
    assert "+1.5" in text


def test_dark_and_light_are_left_to_the_reader(html):
    assert "prefers-color-scheme: dark" in html


def test_a_picture_is_a_valid_png_of_dark_ink_on_white_paper():
    image = torch.tensor([[[0.0, 1.0, 0.5], [1.0, 0.0, 0.0]]])
    file = png(image)
    assert file.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, rest = {}, file[8:]
    while rest:
        (length,) = struct.unpack(">I", rest[:4])
        kind, content = rest[4:8], rest[8 : 8 + length]
        assert struct.unpack(">I", rest[8 + length : 12 + length]) == (zlib.crc32(kind + content),)
        chunks[kind], rest = content, rest[12 + length :]
    assert struct.unpack(">IIBBBBB", chunks[b"IHDR"]) == (3, 2, 8, 0, 0, 0, 0)
    assert zlib.decompress(chunks[b"IDAT"]) == bytes([0, 255, 0, 128, 0, 0, 255, 255])
    assert base64.b64decode(data_url(image).partition(",")[2]) == file
