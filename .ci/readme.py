"""README.md from nbs/index.ipynb: text as it stands, code with what it printed, links made relative
to the repository's root.

Quarto, which nbdev would use, is a binary that no package registry carries; this needs nothing.
"""

import ast
import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTICE = "<!-- made from nbs/index.ipynb by `make readme`; edit there -->\n"


def readme(notebook: Path) -> str:
    """The text of README.md. Cells that begin with `#| hide` or `#| slow` leave only what they show
    in the notebook; those that begin with `#| echo: false` leave the Markdown that they show,
    without their code."""
    parts = [NOTICE]
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"]).strip()
        if cell["cell_type"] == "markdown":
            # links of the notebook are relative to nbs/
            parts.append(
                re.sub(
                    r"(\]\()(?!https?:|#|mailto:)(?:\./)?([^)]+)\)",
                    lambda m: f"{m[1]}{_from_root(m[2])})",
                    source,
                )
            )
        elif source.startswith("#| echo: false"):
            parts += ["".join(output["data"]["text/markdown"]) for output in cell["outputs"]]
        elif (
            cell["cell_type"] == "code"
            and source
            and not re.match(r"#\|\s*(hide|slow|default_exp)", source)
        ):
            printed = "".join(
                "".join(output.get("text", output.get("data", {}).get("text/plain", "")))
                for output in cell["outputs"]
            ).strip()
            parts.append(
                f"```python\n{source}\n```" + (f"\n\n```text\n{printed}\n```" if printed else "")
            )
    return "\n\n".join(parts) + "\n"


def _from_root(link: str) -> str:
    return link.removeprefix("../") if link.startswith("../") else f"nbs/{link}"


ORDER = (
    "core",
    "scenes",
    "tasks",
    "language",
    "data",
    "oracle",
    "train",
    "bench",
    "runs",
    "report",
    "cli",
)


def layout() -> str:
    """The folders of spar_kit and nbs as a table: what each is for (the docstring of its
    `__init__.py`), and its first notebook."""
    folders = {
        path.parent
        for path in (ROOT / "nbs").rglob("[0-9]*.ipynb")
        if ".ipynb_checkpoints" not in path.parts
    }
    names = sorted(path.relative_to(ROOT / "nbs").as_posix() for path in folders)
    rows = ["| folder | what it is for | start with |", "|---|---|---|"]
    for name in sorted(
        names,
        key=lambda name: (
            ORDER.index(name.split("/")[0]) if name.split("/")[0] in ORDER else len(ORDER),
            name,
        ),
    ):
        package = ROOT / "spar_kit" / name / "__init__.py"
        purpose = (
            ast.get_docstring(ast.parse(package.read_text(encoding="utf-8")))
            if package.is_file()
            else ""
        )
        first = min((ROOT / "nbs" / name).glob("[0-9]*.ipynb")).stem
        rows.append(
            f"| `{name}` | {purpose or ''} | [{first.partition('_')[2]}]({name}/{first}.ipynb) |"
        )
    return "\n".join(rows)


def write_layout(notebook: Path) -> None:
    """Renews the table between `<!-- layout -->` and `<!-- /layout -->` in the notebook."""
    before = notebook.read_text(encoding="utf-8")
    content = json.loads(before)
    for cell in content["cells"]:
        text = re.sub(
            r"(?s)(?<=<!-- layout -->\n).*?(?=\n<!-- /layout -->)",
            lambda _: layout(),
            "".join(cell["source"]),
        )
        cell["source"] = text.splitlines(True)
    after = json.dumps(content, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    if after != before:
        notebook.write_text(after, encoding="utf-8")


path = ROOT / "README.md"
write_layout(ROOT / "nbs" / "index.ipynb")
text = readme(ROOT / "nbs" / "index.ipynb")
if not path.exists() or path.read_text(encoding="utf-8") != text:
    path.write_text(text, encoding="utf-8")
