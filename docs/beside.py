"""Brings into the site what lies beside docs/ in a clone, so that one relative link serves a code host and the site."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"README.md": "start.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
LEADERBOARD = ("*.md", "*.csv", "*.json", "*.yaml", "figures/*.svg", "breakdowns/*", "records/*.json")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the root, and of the leaderboard what its pages link to."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / name)))
    for pattern in LEADERBOARD:
        for path in sorted((ROOT / "leaderboard").glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point links at where these files are in the site."""
    if page.file.src_uri.startswith("leaderboard/"):
        return markdown.replace("[`records/`](records/)", "`records/`")  # a folder is no page
    markdown = markdown.replace("](../leaderboard/", "](leaderboard/").replace("](docs/", "](")
    for name, where in PAGES.items():
        markdown = markdown.replace(f"](../{name}", f"]({where}").replace(f"]({name}", f"]({where}")
    return markdown
