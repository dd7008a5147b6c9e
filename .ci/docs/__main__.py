"""Builds the site: python -m docs --output FOLDER. Exits with an error for any problem or warning."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from os.path import relpath
from pathlib import Path

from docs.site import ROOT, Site, make_site
from mlx_selfdebug.config import SETTINGS

HERE = Path(__file__).parent
ASSETS = ("examples/report.png",)
LOADED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "link": "href",
}
"""The attribute by which an element of a page loads something."""
OTHER_HOST = re.compile(r"(?:https?:)?//")
IN_STYLES = re.compile(r"""(?:url\(|@import )\s*["']?((?:https?:)?//[^"')\s]+)""")


class _Loads(HTMLParser):
    """The addresses that a page loads something from."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value for name, value in attrs if name == LOADED.get(tag) and value]


def write_sources(site: Site, folder: Path) -> Path:
    """Write the pages, the pictures and the configuration into ``folder``, and return the configuration's file."""
    shutil.rmtree(folder, ignore_errors=True)
    for page in site.pages:
        path = folder / "pages" / page.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page.text, encoding="utf-8")
    for asset in ASSETS:
        (folder / "pages" / asset).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / asset, folder / "pages" / asset)
    for name in ("style.css", "iframe-worker.js"):
        shutil.copy(HERE / name, folder / "pages")
    navigation = [
        {name: pages[0].path if len(pages) == 1 else [{page.title: page.path} for page in pages]}
        for name, pages in site.sections.items()
    ]
    # JSON is YAML too.
    config = {"INHERIT": str(HERE / "properdocs.yml"), "docs_dir": "pages", "nav": navigation}
    file = folder / "properdocs.yml"
    file.write_text(json.dumps(config, indent=1), encoding="utf-8")
    return file


def other_hosts(folder: Path) -> Iterator[str]:
    """Yield every place in the built pages and styles that loads something from another host."""
    for path in sorted(folder.rglob("*.html")):
        for address in _Loads(path.read_text(encoding="utf-8")).addresses:
            if OTHER_HOST.match(address):
                yield f"{path.relative_to(folder)} loads {address}"
    for path in sorted(folder.rglob("*.css")):
        for address in IN_STYLES.findall(path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(folder)} loads {address}"


def build(site: Site, output: Path) -> list[str]:
    """Build the site in ``output``, and return what is wrong with it. If something is, the site may be unfinished."""
    if site.problems:
        return site.problems
    config = write_sources(site, output.with_name(f"{output.name}-sources"))
    command = ["build", "--strict", "--clean", "--config-file", str(config), "--site-dir", str(output)]
    built = subprocess.run([sys.executable, "-m", "properdocs", *command], capture_output=True, text=True, check=False)
    if built.returncode:
        lines = built.stderr.splitlines()
        return [line for line in lines if line.startswith(("WARNING", "ERROR"))] or lines
    return list(other_hosts(output))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m docs", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "build/site", help="folder of the built site")
    output = parser.parse_args().output.resolve()
    site = make_site()
    if problems := build(site, output):
        sys.exit("\n".join(problems))
    n_names = sum(map(len, site.names.values()))
    print(f"{relpath(output / 'index.html')}: {len(site.pages)} pages; nothing on them is loaded from another host")
    print(f"{len(site.sections['Commands']) - 1} commands, {len(SETTINGS)} settings, {n_names} public names")


if __name__ == "__main__":
    main()
