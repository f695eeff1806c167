"""Plotly and DataTables from the packages that bring them: what a page runs lies beside it."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

from peftcorr.errors import PeftCorrError

_MEND = "install the site's libraries with pip install 'peftcorr[report]'"
_EXPORTS = re.compile(r"export\{([^{}]*)\}")
_OWN_STYLE = re.compile(r'getElementById\("([0-9a-f]{64})"\)')


def write_libraries(folder: Path) -> str:
    """Copy Plotly's script, and DataTables' script and style, into a folder.

    Returns:
        id of the style of maps that Plotly would put into a page that has no element of this id: a strict policy
        refuses it, and no page here has a map. Empty where it has none.

    Raises:
        PeftCorrError: if a package is not installed, or is not as those that this version knows.
    """
    shutil.copyfile(_file("plotly", "package_data", "plotly.min.js"), folder / "plotly.min.js")
    shutil.copyfile(_file("itables", "html", "dt_bundle.css"), folder / "datatables.css")
    module = _file("itables", "html", "dt_bundle.js").read_text(encoding="utf-8")
    (folder / "datatables.js").write_text(_as_script(module), encoding="utf-8", newline="\n")
    style = _OWN_STYLE.search((folder / "plotly.min.js").read_text(encoding="utf-8"))
    return style[1] if style else ""


def _file(package: str, *parts: str) -> Path:
    found = importlib.util.find_spec(package)
    folders = list(found.submodule_search_locations or ()) if found is not None else []
    if not folders:
        raise PeftCorrError(f"The package {package} is not installed: {_MEND}.")
    path = Path(folders[0], *parts)
    if not path.is_file():
        raise PeftCorrError(f"There is no {path}, which this version of {package} should have: {_MEND}.")
    return path


def _as_script(module: str) -> str:
    """A module as a script that leaves ``jQuery`` behind: browsers load no module from a disk."""
    found = _EXPORTS.search(module)
    own = re.search(r"(?:^|,)([\w$]+) as jQuery(?:,|$)", found[1]) if found else None
    if found is None or own is None or _EXPORTS.search(module, found.end()):
        raise PeftCorrError(f"The DataTables that itables brings has no jQuery to take: {_MEND}.")
    script = f"{module[: found.start()]}window.jQuery={own[1]}{module[found.end() :]}"
    return f"(() => {{\n{script}\n}})();\n"
