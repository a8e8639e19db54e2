"""A small run on real digits of which some have wrong labels, its report, and a browser."""

import shutil

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from headwater import Report, TracInCP

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
RATES = [0.3, 0.07]
TRAINING, QUERIES = 130, 24
# What would run, break out of its element, or end a line in JavaScript, if it weren't escaped.
HOSTILE = [
    "<script>window.hurt = 1</script>",
    "</script><script>window.hurt = 2</script>",
    "<img src=x onerror='window.hurt = 3'>",
    "<!-- <script> \u2028 \u2029 & ' \" ` ${window.hurt = 4}",
    "]]> {{ 7 * 7 }} {% raw %}",
]


def digits(count):
    load_digits = pytest.importorskip("sklearn.datasets").load_digits
    images, labels = load_digits(return_X_y=True)
    images, labels = torch.as_tensor(images).double() / 16, torch.as_tensor(labels)
    return images[:count].reshape(-1, 1, 8, 8), labels[:count]


def linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).double()


def trained(images, labels):
    """Checkpoints of a linear model that was trained for a few steps, with their rates."""
    torch.manual_seed(0)
    model, found = linear(), []
    for rate, steps in zip(RATES, (15, 40), strict=True):
        for _ in range(steps):
            model.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= rate * parameter.grad
        found.append(({k: v.clone() for k, v in model.state_dict().items()}, rate))
    return found


class Run:
    """The run: `given` are the labels that training saw, `true` what the images show."""

    def __init__(self):
        images, labels = digits(TRAINING + QUERIES)
        self.images, self.true = images[:TRAINING], labels[:TRAINING]
        self.given = self.true.clone()
        self.given[5::11] = (self.given[5::11] + 3) % 10
        self.query_images, self.query_labels = images[TRAINING:], labels[TRAINING:]
        self.checkpoints = trained(self.images, self.given)
        self.examples = {
            "source": ["scan", "photo"] * (TRAINING // 2),
            "true_label": self.true.tolist(),
        }

    def estimator(self):
        return TracInCP(
            linear(),
            TensorDataset(self.images, self.given),
            self.checkpoints,
            loss_fn=nn.CrossEntropyLoss(reduction="none"),
            batch_size=50,
        )

    def report(self, **options):
        settings = {"examples": self.examples, "truth": "true_label", "k": 3, "traced": 20}
        return Report(
            self.estimator(),
            self.query_images,
            self.query_labels,
            **{**settings, "explained": 3, "title": "Digits", **options},
        )


@pytest.fixture(scope="session")
def run():
    return Run()


@pytest.fixture(scope="session")
def page(run, tmp_path_factory):
    """The written report of the run."""
    pytest.importorskip("vl_convert")
    return run.report().write(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="session")
def hostile_page(run, tmp_path_factory):
    """A report of which every text that comes from data is hostile."""
    pytest.importorskip("vl_convert")

    def each(count, start=0):
        return [f"{HOSTILE[(n + start) % len(HOSTILE)]} {n}" for n in range(count)]

    report = run.report(
        examples={
            "id": each(TRAINING, 1),
            "text": each(TRAINING),
            "source": each(TRAINING, 2),
            HOSTILE[1]: each(TRAINING, 3),
        },
        queries={"id": each(QUERIES), "text": each(QUERIES, 4), HOSTILE[0]: each(QUERIES)},
        class_names=each(10, 1),
        title=HOSTILE[1],
        truth=None,
        rankings={HOSTILE[2]: list(range(TRAINING))},
    )
    return report.write(tmp_path_factory.mktemp("hostile") / "hostile.html")


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="needs playwright: pip install playwright"
    )
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("needs a Chromium, on Debian: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium):
    """Opens a page; what it complains of, or asks the network for, fails the test at its end."""
    context = chromium.new_context(viewport={"width": 1500, "height": 950}, accept_downloads=True)
    context.set_default_timeout(10_000)
    complaints = []

    def open_page(path):
        tab = context.new_page()
        tab.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on(
            "request",
            lambda request: (
                None
                if request.url.startswith(("file:", "data:", "blob:"))
                else complaints.append(f"asked for {request.url}")
            ),
        )
        tab.goto(path.as_uri())
        return tab

    yield open_page
    context.close()
    assert complaints == []
