"""Takes out of the notebooks what an executed one says of its machine: of `language_info` only the
name stays, which Papermill needs. Called by .ci/in-step behind nbdev_clean."""

import json
from pathlib import Path

for path in sorted(Path("nbs").rglob("*.ipynb")):
    if ".ipynb_checkpoints" in path.parts:
        continue
    text = path.read_text(encoding="utf-8")
    notebook = json.loads(text)
    info = notebook["metadata"].get("language_info")
    if info and set(info) != {"name"}:
        notebook["metadata"]["language_info"] = {"name": info["name"]}
        clean = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
        path.write_text(clean, encoding="utf-8")
