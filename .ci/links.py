"""Whether links lead somewhere: `python .ci/links.py _site README.md docs`. Folders of HTML are
read as a built site, Markdown files and folders of them as they stand in the repository. Checks
files and anchors, asks no server, and refuses scripts, styles, fonts and images that a page would
fetch from one.

Prints each broken link with its place; the exit code is 1 where there is one.
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# what a browser fetches by itself, by tag
FETCHED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "link": "href",
}
FENCE = re.compile(r"^(`{3,})[^\n]*\n.*?^\1\s*?$|`[^`\n]+`", re.M | re.S)
LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")


class Page(HTMLParser):
    """The anchors of a page, its links and what it fetches."""

    def __init__(self, text: str):
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[tuple[int, str]] = []
        self.fetched: list[tuple[int, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.anchors |= {found[name] for name in ("id", "name") if found.get(name)}
        line = self.getpos()[0]
        if tag == "a" and found.get("href"):
            self.links.append((line, found["href"]))
        where = FETCHED.get(tag)
        if where and found.get(where) and found.get("rel") not in ("canonical", "alternate"):
            self.fetched.append((line, found[where]))
        if tag == "base" or "srcset" in found:
            self.fetched.append((line, found.get("href") or found.get("srcset") or ""))


def slug(heading: str) -> str:
    """The anchor of a Markdown heading, as GitHub and MkDocs make it."""
    plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", plain.lower()).strip().replace(" ", "-")


def markdown_anchors(text: str) -> set[str]:
    return {slug(heading) for heading in re.findall(r"^#+ (.+?)\s*$", FENCE.sub("", text), re.M)}


def is_outside(link: str) -> bool:
    parts = urlsplit(link)
    return bool(parts.scheme or parts.netloc)


def site_faults(site: Path) -> list[str]:
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    faults = []
    for path, page in pages.items():
        for line, link in page.fetched:
            if urlsplit(link).netloc:
                faults.append(f"{path}:{line}: fetched from a server: {link}")
        for line, link in page.links + page.fetched:
            # that page is served at any depth
            if is_outside(link) or path.name == "404.html":
                continue
            fault = broken(path, link, pages)
            if fault:
                faults.append(f"{path}:{line}: {fault}: {link}")
    return faults


def broken(path: Path, link: str, pages: dict[Path, Page]) -> str:
    """Why a relative link of a page leads nowhere, "" where it leads somewhere."""
    parts = urlsplit(link)
    target = path if not parts.path else Path(path.parent, unquote(parts.path)).resolve()
    if target.is_dir():
        target = target / "index.html"
    if not target.is_file():
        return "no such file"
    # JavaScript makes anchors that begin with "__"
    if (
        parts.fragment
        and target in pages
        and unquote(parts.fragment) not in pages[target].anchors
        and not parts.fragment.startswith("__")
    ):
        return "no such anchor"
    return ""


def markdown_faults(path: Path) -> list[str]:
    whole = path.read_text(encoding="utf-8")
    text = FENCE.sub(lambda found: "\n" * found[0].count("\n"), whole)
    faults = []
    for found in LINK.finditer(text):
        link = found[1]
        line = text.count("\n", 0, found.start()) + 1
        if is_outside(link):
            continue
        parts = urlsplit(link)
        target = path if not parts.path else path.parent / unquote(parts.path)
        if not target.exists():
            faults.append(f"{path}:{line}: no such file: {link}")
        elif (
            parts.fragment
            and target.suffix == ".md"
            and parts.fragment not in markdown_anchors(target.read_text(encoding="utf-8"))
        ):
            faults.append(f"{path}:{line}: no such anchor: {link}")
    return faults


def faults_of(path: Path) -> list[str]:
    path = path.resolve()
    if path.is_file():
        return markdown_faults(path)
    if any(path.glob("*.html")):
        return site_faults(path)
    return [fault for file in sorted(path.rglob("*.md")) for fault in markdown_faults(file)]


if __name__ == "__main__":
    missing = [name for name in sys.argv[1:] if not Path(name).exists()]
    found = [f"{name}: not there" for name in missing] + [
        fault for name in sys.argv[1:] if name not in missing for fault in faults_of(Path(name))
    ]
    print("\n".join(found) if found else f"== links of {', '.join(sys.argv[1:])} lead somewhere")
    sys.exit(bool(found))
