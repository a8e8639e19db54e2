"""What was measured with: versions, threads, processor."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from headwater.version import __version__

PACKAGES = ("torch", "captum", "kronfluence", "dattri", "traker")


def header(threads: int) -> dict[str, str | int]:
    """The facts that belong beside every figure."""
    facts: dict[str, str | int] = {
        "measured": date.today().isoformat(),
        "headwater": f"{__version__}{_commit()}",
        "Python": platform.python_version(),
        **{package: found for package in PACKAGES if (found := _version(package)) is not None},
        "threads": threads,
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
    }
    return facts


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str:
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f" ({described})"


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} logical cores"
