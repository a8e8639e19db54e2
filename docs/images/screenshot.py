"""Take the README's pictures from the demo's pages, as headless Chromium shows them.

Of the demo's own report the lists are cut short, so that every part of the page is in the picture;
nothing else changes. Of another page the picture is what a window of a given size shows.

Usage: python docs/images/screenshot.py REPORT PICTURE [WIDTH HEIGHT]
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTH, HEIGHT = 1120, 1650
SHORTENED = """<style>
.suspects li:nth-child(n + 11), article:nth-of-type(n + 3), footer { display: none; }
</style>
"""
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


def main(report: Path, picture: Path, size: tuple[int, int] | None) -> None:
    """Write a picture of the report, in a window of that size; None shows all of the demo's."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(
            "no Chromium found; install it (on Debian: apt-get install chromium) and try again"
        )
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "page.html")
        html = report.read_text(encoding="utf-8")
        if size is None:
            html = html.replace("</head>", f"{SHORTENED}</head>")
        page.write_text(html, encoding="utf-8")
        width, height = size or (WIDTH, HEIGHT)
        subprocess.run(
            [
                browser,
                *FLAGS,
                f"--window-size={width},{height}",
                "--run-all-compositor-stages-before-draw",
                "--virtual-time-budget=4000",
                f"--user-data-dir={folder}/profile",
                f"--screenshot={picture.resolve()}",
                page.as_uri(),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    print(f"{picture} ({picture.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    window = (int(sys.argv[3]), int(sys.argv[4])) if len(sys.argv) > 3 else None
    main(Path(sys.argv[1]), Path(sys.argv[2]), window)
