"""Take the README's picture from the demo's report, as headless Chromium shows it.

The lists are cut short, so that every part of the page is in the picture; nothing else changes.

Usage: python docs/images/screenshot.py REPORT PICTURE
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
    f"--window-size={WIDTH},{HEIGHT}",
)


def main(report: Path, picture: Path) -> None:
    """Write a picture of the report."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(
            "no Chromium found; install it (on Debian: apt-get install chromium) and try again"
        )
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "page.html")
        html = report.read_text(encoding="utf-8")
        page.write_text(html.replace("</head>", f"{SHORTENED}</head>"), encoding="utf-8")
        subprocess.run(
            [
                browser,
                *FLAGS,
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
    main(Path(sys.argv[1]), Path(sys.argv[2]))
