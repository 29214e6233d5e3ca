"""README.md from nbs/index.ipynb: text as it stands, code with what it printed, links made relative to the repository's root.

Quarto, which nbdev would use, is a binary that no package registry carries; this needs nothing.
"""
import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTICE = "<!-- made from nbs/index.ipynb by `make readme`; edit there -->\n"


def readme(notebook: Path) -> str:
    """The text of README.md. Cells that begin with `#| hide` or `#| slow` leave only what they show in the notebook; those that begin with
    `#| echo: false` leave the Markdown that they show, without their code."""
    parts = [NOTICE]
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"]).strip()
        if cell["cell_type"] == "markdown":
            # links of the notebook are relative to nbs/
            parts.append(re.sub(r"(\]\()(?!https?:|#|mailto:)(?:\./)?([^)]+)\)", lambda m: f"{m[1]}{_from_root(m[2])})", source))
        elif source.startswith("#| echo: false"):
            parts += ["".join(output["data"]["text/markdown"]) for output in cell["outputs"]]
        elif cell["cell_type"] == "code" and source and not re.match(r"#\|\s*(hide|slow|default_exp)", source):
            printed = "".join("".join(output.get("text", output.get("data", {}).get("text/plain", ""))) for output in cell["outputs"]).strip()
            parts.append(f"```python\n{source}\n```" + (f"\n\n```text\n{printed}\n```" if printed else ""))
    return "\n\n".join(parts) + "\n"


def _from_root(link: str) -> str:
    return link.removeprefix("../") if link.startswith("../") else f"nbs/{link}"


path = ROOT / "README.md"
text = readme(ROOT / "nbs" / "index.ipynb")
if not path.exists() or path.read_text(encoding="utf-8") != text:
    path.write_text(text, encoding="utf-8")
