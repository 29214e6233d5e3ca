"""The hook of MkDocs that makes the site's pages from the tree as it stands: notebooks with their
kept outputs, one page for each module, README, CONTRIBUTING and CHANGELOG. Nothing here names a
notebook or a module, so a moved file moves its page.

MkDocs calls the functions `on_*`. Links in the sources are those of the repository
(`../nbs/FOLDER/NAME.ipynb`); they become links of the site here.
"""

import base64
import html
import json
import posixpath
import re
from pathlib import Path

from latex2mathml.converter import convert as mathml
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
TOP = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
LINK = re.compile(r"(\]\()(?!https?:|#|mailto:)([^)\s#]+)(#[^)\s]*)?\)")
FENCE = re.compile(r"(^```.*?^```\s*?$|`[^`\n]+`)", re.M | re.S)
PICTURES = {"image/png": "png", "image/jpeg": "jpg"}

# by page: the HTML of each output, put in place of its mark after Markdown has run
figures: dict[str, list[str]] = {}


# ---- what there is
def notebooks() -> list[Path]:
    return sorted(
        path
        for path in (ROOT / "nbs").rglob("*.ipynb")
        if ".ipynb_checkpoints" not in path.parts and path.name != "index.ipynb"
    )


def modules() -> list[str]:
    """Dotted names, read from the files: importing them would need torch."""
    files = (path for path in (ROOT / "spar_kit").rglob("*.py") if path.name != "_modidx.py")
    named = [
        path
        for path in files
        if path.name != "__init__.py" or '"""' in path.read_text(encoding="utf-8")[:200]
    ]
    return sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in named
    )


def page_of(source: str) -> str | None:
    """Where a file of the repository stands on the site, as a Markdown page; None for what is no
    page."""
    if source in TOP:
        return TOP[source]
    if source == "nbs/index.ipynb":
        return "index.md"
    if source.startswith("docs/") and source.endswith(".md"):
        return source.removeprefix("docs/")
    if source.startswith("nbs/") and source.endswith(".ipynb"):
        return "notebooks/" + source.removeprefix("nbs/").removesuffix(".ipynb") + ".md"
    if source.startswith("spar_kit/") and source.endswith(".py"):
        return "api/" + module_of(source) + ".md"
    return None


def module_of(source: str) -> str:
    return source.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def title_of(notebook: Path) -> str:
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        found = (
            re.match(r"# (.+)", "".join(cell["source"]))
            if cell["cell_type"] == "markdown"
            else None
        )
        if found:
            return found[1]
    return notebook.stem


# ---- text
def site_links(text: str, source: str, page: str, wanted: set[str]) -> str:
    """Links of the repository as links of the site; a file that is no page is copied to files/ and
    linked there."""

    def link(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), found[2]))
        there = page_of(target)
        if (
            there is None
            and source.startswith("docs/")
            and target.startswith("docs/")
            and not target.startswith("docs/examples/")
        ):
            # a picture that MkDocs copies by itself
            return found[0]
        if there is None and (ROOT / target).is_file():
            wanted.add(target)
            there = "files/" + shown_name(target)
        if there is None:
            # MkDocs says that it leads nowhere
            return found[0]
        return (
            found[1]
            + posixpath.relpath(there, posixpath.dirname(page) or ".")
            + (found[3] or "")
            + ")"
        )

    return outside_code(text, lambda part: LINK.sub(link, part))


def shown_name(target: str) -> str:
    """Source files are shown as text by every browser; some would offer them as a download."""
    known = {".jpg", ".png", ".svg", ".txt"}
    return target.lstrip(".") if Path(target).suffix in known else target.lstrip(".") + ".txt"


def outside_code(text: str, change) -> str:
    return "".join(part if part.startswith("`") else change(part) for part in FENCE.split(text))


def formulas(text: str) -> str:
    """$...$ as MathML, which browsers draw by themselves."""
    return outside_code(
        text, lambda part: re.sub(r"\$\$?([^$\n]+?)\$\$?", lambda found: mathml(found[1]), part)
    )


# ---- a notebook as a page
def notebook_page(notebook: Path, config, wanted: set[str]) -> list[File]:
    source = notebook.relative_to(ROOT).as_posix()
    page = page_of(source)
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    module = next(
        (
            name[1]
            for cell in cells
            if (name := re.search(r"^#\|\s*default_exp\s+(\S+)", "".join(cell["source"]), re.M))
        ),
        None,
    )
    parts: list[str] = []
    shown: list[str] = []
    files: list[File] = []
    for cell in cells:
        text = "".join(cell["source"]).strip()
        if cell["cell_type"] == "markdown":
            parts.append(formulas(site_links(text, source, page, wanted)))
            if module and text.startswith("# "):
                parts.append(about_module(module, page))
        elif cell["cell_type"] == "code" and text:
            parts += code_cell(text, module)
            for output in cell.get("outputs", []):
                shown_as, file = output_html(output, page, len(shown), config)
                if shown_as:
                    parts.append(f'<div data-output="{len(shown)}"></div>')
                    shown.append(shown_as)
                if file:
                    files.append(file)
    figures[page] = shown
    return [File.generated(config, page, content="\n\n".join(parts) + "\n"), *files]


def about_module(module: str, page: str) -> str:
    api = posixpath.relpath(f"api/spar_kit.{module}.md", posixpath.dirname(page))
    return (
        '<p class="nb-module" markdown>This notebook is the source of'
        f" [`spar_kit.{module}`]({api}).</p>"
    )


def code_cell(text: str, module: str | None) -> list[str]:
    """The code without nbdev's directives; cells that become part of the module carry its name."""
    if re.match(r"#\|\s*(default_exp|hide)\b", text):
        return []
    exported = re.search(r"^#\|\s*export", text, re.M)
    code = re.sub(r"^#\|.*\n?", "", text, flags=re.M).strip()
    title = f' title="spar_kit.{module}"' if exported and module else ""
    return [f"````python{title}\n{code}\n````"] if code else []


def output_html(output: dict, page: str, number: int, config) -> tuple[str, File | None]:
    """What stands under a cell, and the file that it needs."""
    if output["output_type"] == "stream":
        return (
            f'<div class="nb-output"><pre>{html.escape("".join(output["text"]))}</pre></div>',
            None,
        )
    if output["output_type"] == "error":
        return (
            "<div"
            f' class="nb-output"><pre>{html.escape(output["ename"] + ": " + output["evalue"])}</pre></div>',  # noqa: E501
            None,
        )
    data = {
        kind: "".join(value) if isinstance(value, list) else value
        for kind, value in output["data"].items()
    }
    if "application/vnd.plotly.v1+json" in data:
        return plotly_html(data["application/vnd.plotly.v1+json"], number), None
    if "text/html" in data:
        return f'<div class="nb-output">{data["text/html"]}</div>', None
    for kind, ending in PICTURES.items():
        if kind in data:
            name = f"{posixpath.splitext(page)[0]}_{number}.{ending}"
            image = (
                f'<div class="nb-output"><img src="{posixpath.basename(name)}" loading="lazy"'
                ' alt="What the cell above shows"></div>'
            )
            return image, File.generated(config, name, content=base64.b64decode(data[kind]))
    return (
        f'<div class="nb-output"><pre>{html.escape(data.get("text/plain", ""))}</pre></div>',
        None,
    )


def plotly_html(figure: dict, number: int) -> str:
    spec = json.dumps({key: figure[key] for key in ("data", "layout") if key in figure}).replace(
        "</", "<\\/"
    )
    draw = (
        f"const figure = {spec}; Plotly.newPlot('figure{number}', figure.data, figure.layout,"
        " {responsive: true, displaylogo: false});"
    )
    return (
        f'<div class="nb-output nb-figure" id="figure{number}" role="img" aria-label="Figure of the'
        f' cell above"></div><script>{{{draw}}}</script>'
    )


# ---- what MkDocs calls
def on_files(files, config):
    wanted: set[str] = set()
    made: list[File] = []
    for source, page in TOP.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        made.append(File.generated(config, page, content=site_links(text, source, page, wanted)))
    for notebook in notebooks():
        made += notebook_page(notebook, config, wanted)
    for module in modules():
        made.append(
            File.generated(config, f"api/{module}.md", content=f"# {module}\n\n::: {module}\n")
        )
    made.append(File.generated(config, "notebooks/index.md", content=list_of_notebooks()))
    made.append(File.generated(config, "api/index.md", content=list_of_modules()))
    made.append(File.generated(config, "assets/plotly.min.js", content=plotly_script()))
    for page in files.documentation_pages():
        source = "docs/" + page.src_uri
        text = site_links(page.content_string, source, page.src_uri, wanted)
        made.append(File.generated(config, page.src_uri, content=text))
    for target in sorted(wanted):
        made.append(
            File.generated(
                config, "files/" + shown_name(target), content=(ROOT / target).read_bytes()
            )
        )
    for file in made:
        if file.src_uri in files.src_uris:
            files.remove(files.src_uris[file.src_uri])
        files.append(file)
    config["nav"] = navigation(files)
    return files


def on_page_content(content, page, config, files):
    """Outputs in place of their marks; the script of figures only where a page has one."""
    shown = figures.get(page.file.src_uri, [])
    if any("Plotly.newPlot" in each for each in shown):
        script = posixpath.relpath("assets/plotly.min.js", posixpath.dirname(page.file.src_uri))
        content = f'<script src="{script}"></script>\n' + content
    return re.sub(r'<div data-output="(\d+)"></div>', lambda found: shown[int(found[1])], content)


def on_post_page(output, page, config):
    return own_worker(output, page.file.src_uri)


def on_post_template(output, template_name, config):
    return own_worker(output, template_name)


def own_worker(output: str, page: str) -> str:
    """Material's search asks a server for the script that lets it run from disk;
    docs/assets/worker.js does the same here."""
    own = posixpath.relpath("assets/worker.js", posixpath.dirname(page) or ".")
    return re.sub(
        r'<script src="?https://unpkg\.com/iframe-worker/shim"?></script>',
        f'<script src="{own}"></script>',
        output,
    )


def plotly_script() -> bytes:
    import plotly

    return (Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_bytes()


# ---- lists and navigation
def list_of_notebooks() -> str:
    lines = ["# Notebooks", "", "The source of the package, with the outputs that were kept."]
    folder = None
    for notebook in notebooks():
        parent = notebook.parent.relative_to(ROOT / "nbs").as_posix()
        if parent != folder:
            lines += ["", f"## {parent}", ""]
            folder = parent
        page = page_of(notebook.relative_to(ROOT).as_posix()).removeprefix("notebooks/")
        lines.append(f"- [{title_of(notebook)}]({page}): {summary_of(notebook)}")
    return "\n".join(lines) + "\n"


def summary_of(notebook: Path) -> str:
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        found = (
            re.search(r"^> (.+(?:\n> .+)*)", "".join(cell["source"]), re.M)
            if cell["cell_type"] == "markdown"
            else None
        )
        if found:
            return LINK.sub(r"\1#)", found[1].replace("\n> ", " "))
    return ""


def list_of_modules() -> str:
    lines = ["# Modules", "", "One page for each module, made from its signatures and docstrings."]
    package = None
    for module in modules():
        parent = module.rpartition(".")[0]
        if parent != package:
            lines += ["", f"## {parent or module}", ""]
            package = parent
        lines.append(f"- [`{module}`]({module}.md)")
    return "\n".join(lines) + "\n"


def navigation(files) -> list:
    guide = sorted(
        page.src_uri
        for page in files.documentation_pages()
        if "/" not in page.src_uri and page.src_uri not in TOP.values()
    )
    notebook_pages = [page_of(path.relative_to(ROOT).as_posix()) for path in notebooks()]
    return [
        {"Start": "index.md"},
        {"Guide": [*guide, *(page for page in TOP.values() if page != "index.md")]},
        {
            "Notebooks": [
                "notebooks/index.md",
                *nested(
                    {
                        page.removeprefix("notebooks/").removesuffix(".md"): page
                        for page in notebook_pages
                    },
                    "/",
                ),
            ]
        },
        {
            "API": [
                "api/index.md",
                *nested(
                    {name.removeprefix("spar_kit."): f"api/{name}.md" for name in modules()}, "."
                ),
            ]
        },
    ]


def nested(pages: dict[str, str], separator: str) -> list:
    """{"folder/name": page} as MkDocs wants its navigation: a list of pages and of folders with
    lists."""
    entries: list = []
    folders: dict[str, dict[str, str]] = {}
    for name, page in pages.items():
        head, _, rest = name.partition(separator)
        if rest:
            folders.setdefault(head, {})[rest] = page
        else:
            entries.append({head: page} if separator == "." else page)
    return entries + [{folder: nested(inner, separator)} for folder, inner in folders.items()]
