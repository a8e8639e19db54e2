"""Running the user's file as a module, as `python` would."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.cli.attribution.location import in_users_words, shown_path, syntax_error
from headwater.errors import AttributionFileError

if TYPE_CHECKING:
    from types import ModuleType


def run_module(path: Path) -> ModuleType:
    """The module that a file defines.

    The file's folder goes first on the path of imports, as it does for a script, and the module is
    known by the file's name, so that the workers of a DataLoader find what it defines.

    Raises:
        AttributionFileError: there is no such file, it isn't Python, or it raised an exception.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "doesn't exist"
        raise AttributionFileError(
            f"{path} {what}; expected a Python file that says what model, data, loss and "
            f"checkpoints there are. `headwater init` writes one to start from"
        )
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    # A file called random.py must not take the place of the module random.
    name = path.stem if path.stem not in sys.modules else f"headwater_reads_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise AttributionFileError(f"{path} isn't called *.py; expected a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise AttributionFileError(syntax_error(error)) from error
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        raise AttributionFileError(
            f"{shown_path(path)} stopped with an exception when it was run.\n"
            f"{in_users_words(error)}{_hint(error)}"
        ) from error
    return module


def _hint(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"\nInstall what provides {error.name}, in the environment that headwater is in"
    if isinstance(error, SystemExit):
        return '\nWhat is to run only as a script goes under `if __name__ == "__main__":`'
    return ""
