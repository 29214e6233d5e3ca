"""Moves every notebook and module to its new folder, once, on a clean tree: `python tools/house/move.py`.

What goes where stands in moves.yaml, what is no module or needs words of its own in edits.yaml. Nothing is renamed but modules, nothing is split. The steps:

1. the table is checked: each notebook of nbs/ has a home, none has two, no folder holds more than 12;
2. every text of the repository (cells, their outputs, tests, settings, data files) gets the new module paths, notebook names and links;
3. notebooks move and get their numbers, data files move, exported modules are removed (nbdev writes them anew);
4. packages get an `__init__.py` with their purpose; `core/moved` gets the table of old paths; files of new/ are copied;
5. nbdev_export, nbdev_clean, .ci/readme.py, and ruff sorts the imports of tests.

With --check it only says what has no home.
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
NEW = HERE / "new"
MOST = 12


class Table:
    """moves.yaml, read: `modules` old dotted name > new one, `notebooks` old path in nbs/ without suffix > new one."""

    def __init__(self) -> None:
        self.modules: dict[str, str] = {}
        self.notebooks: dict[str, str] = {}
        self.new: dict[str, str] = {}
        self.purposes: dict[str, str] = {}
        self.problems: list[str] = []
        exports = {match[1]: path for path in sorted((ROOT / "nbs").rglob("*.ipynb"))
                   if ".ipynb_checkpoints" not in path.parts and (match := re.search(r'#\| *default_exp +([\w.]+)', path.read_text(encoding="utf-8")))}
        for folder, row in yaml.safe_load((HERE / "moves.yaml").read_text(encoding="utf-8")).items():
            self.purposes[folder] = row["purpose"]
            number, step = 0, 10 if len(row["holds"]) <= 10 else 5
            if len(row["holds"]) > MOST:
                self.problems.append(f"{folder} holds {len(row['holds'])}")
            for entry in row["holds"]:
                old, _, new = (part.strip() for part in entry.partition(">"))
                kind, _, rest = old.partition(" ")
                name = new or re.split(r"[./]", rest or old)[-1]
                target = f"{folder}/{number:02}_{name}"
                number += step
                if kind == "new":
                    self.new[rest] = target
                    continue
                if kind == "nb":
                    notebook = rest
                    if not (ROOT / "nbs" / f"{rest}.ipynb").is_file():
                        self.problems.append(f"no notebook {rest}")
                        continue
                else:
                    if old not in exports:
                        self.problems.append(f"no notebook exports {old}")
                        continue
                    notebook = exports[old].relative_to(ROOT / "nbs").with_suffix("").as_posix()
                    if old in self.modules:
                        self.problems.append(f"{old} has two homes")
                    self.modules[old] = f"{folder.replace('/', '.')}.{name}"
                self.notebooks[notebook] = target
        for path in sorted((ROOT / "nbs").rglob("*.ipynb")):
            name = path.relative_to(ROOT / "nbs").with_suffix("").as_posix()
            if ".ipynb_checkpoints" not in path.parts and name not in self.notebooks and name != "index" and not name.startswith("studies/"):
                self.problems.append(f"{name} has no home: add it to moves.yaml")
        taken = sorted(self.modules.values())
        self.problems += [f"two modules go to {name}" for name, other in zip(taken, taken[1:]) if name == other]
        self.problems += [f"{new} is the old name of another module" for old, new in self.modules.items() if new in self.modules and new != old]
        self.packages = {old.split(".")[0] for old in self.modules}
        self.stems: dict[str, list[str]] = {}
        for name in self.notebooks:
            self.stems.setdefault(name.rpartition("/")[2], []).append(name)


class Rewriter:
    def __init__(self, table: Table, edits: dict):
        self.table = table
        self.data: dict[str, str] = edits["data"]
        packages = "|".join(sorted(table.packages, key=len, reverse=True))
        self.in_full = re.compile(rf"\bspar_kit(?P<sep>[./])(?P<package>{packages})(?P=sep)(?P<module>\w+)")
        self.in_short = re.compile(rf"(?<=`)(?P<package>{packages})\.(?P<module>\w+)(?=[`.])")
        self.in_label = re.compile(rf"(?<=\")(?P<package>{packages})/(?P<module>\w+)(?=\.py\b)")
        one = r"\w+(?: as \w+)?"
        self.from_package = re.compile(rf"from spar_kit\.(?P<package>{packages}) import (?P<names>{one}(?:, {one})*)")
        self.link = re.compile(r"(\]\()([\w./-]*\d\d[a-z]?_\w+)\.ipynb(?=[)#])")
        self.stem = re.compile(rf"(?<![\w./])(?:(?P<folder>{packages})/)?(?P<stem>\d\d[a-z]?_\w+)(?![\w/]|\.ipynb)")

    def names(self, text: str) -> str:
        """Module paths: `spar_kit.tasks.task`, spar_kit/tasks/task.py, `from spar_kit.tasks import task`, `tasks.task` in backticks."""
        for old, new in self.data.items():
            text = text.replace(old, new)
        text = self.from_package.sub(self._from_package, text)
        text = self.in_full.sub(lambda m: self._dotted(m, f"spar_kit{m['sep']}", m["sep"]), text)
        text = self.in_label.sub(lambda m: self._dotted(m, "", "/"), text)
        return self.in_short.sub(lambda m: self._dotted(m, "", "."), text)

    def _dotted(self, match: re.Match, before: str, separator: str) -> str:
        new = self.table.modules.get(f"{match['package']}.{match['module']}")
        return match[0] if new is None else before + new.replace(".", separator)

    def _from_package(self, match: re.Match) -> str:
        groups: dict[str, list[str]] = {}
        for item in match["names"].split(", "):
            name, _, alias = item.partition(" as ")
            new = self.table.modules.get(f"{match['package']}.{name}")
            if new is None:
                groups.setdefault(match["package"], []).append(item)
                continue
            package, _, module = new.rpartition(".")
            groups.setdefault(package, []).append(module if (alias or name) == module else f"{module} as {alias or name}")
        line = match.string[match.string.rfind("\n", 0, match.start()) + 1:match.start()]
        between = "\n" + line if not line.strip() else "; "
        return between.join(f"from spar_kit.{package} import {', '.join(items)}" for package, items in groups.items())

    def links(self, text: str, old: str, new: str) -> str:
        """Links between notebooks and names of notebooks, in the text of one that moves from `old` to `new` (paths in nbs/ without suffix)."""
        at, to = old.rpartition("/")[0], new.rpartition("/")[0] or "."

        def link(match: re.Match) -> str:
            target = os.path.normpath(os.path.join(at, match[2])).replace(os.sep, "/")
            target = self.table.notebooks.get(target, target)
            return f"{match[1]}{os.path.relpath(target, to)}.ipynb"

        def stem(match: re.Match) -> str:
            found = self.table.stems.get(match["stem"], [])
            name = f"{match['folder'] or at}/{match['stem']}"
            name = name if name in found else found[0] if len(found) == 1 else ""
            if not name:
                return match[0]
            target = self.table.notebooks[name]
            return target.rpartition("/")[2] if target.rpartition("/")[0] == new.rpartition("/")[0] else target

        return self.stem.sub(stem, self.link.sub(link, text))

    def relative(self, source: str, old: str, new: str) -> str:
        """Paths like "../../tests", which depend on how deep a notebook lies."""
        up = "../" * (new.count("/") + 1)
        return re.sub(r"(?<=[\"'])(?:\.\./)+(?=(?:tests|params|requirements|spar_kit|reports|runs|nbs)\b)", up, source) if old.count("/") != new.count("/") else source

    def notebook(self, path: Path, old: str, new: str) -> str:
        content = json.loads(path.read_text(encoding="utf-8"))
        for cell in content["cells"]:
            text = "".join(cell["source"])
            text = self.links(self.names(text), old, new)
            if cell["cell_type"] == "code":
                text = re.sub(r"(?m)^(#\| *default_exp +)([\w.]+)", lambda m: m[1] + self.table.modules.get(m[2], m[2]), text)
                text = self.relative(text, old, new)
            cell["source"] = text.splitlines(True)
            for output in cell.get("outputs", []):
                if "text" in output:
                    output["text"] = self.names("".join(output["text"])).splitlines(True)
                for kind in output.get("data", {}).keys() & {"text/plain", "text/markdown"}:
                    output["data"][kind] = self.names("".join(output["data"][kind])).splitlines(True)
        return json.dumps(content, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def fits(text: str, edit: dict) -> bool:
    return edit["old"] in text if "old" in edit else re.search(edit["regex"], text, re.DOTALL) is not None


def edited(text: str, edits: list[dict], name: str, rewriter: Rewriter) -> str:
    """`text` after the edits of edits.yaml for this file; each must fit. `{nb:31_scannet}` in a replacement is where that notebook lies now."""
    for edit in edits:
        to = (NEW / edit["to"][5:]).read_text(encoding="utf-8") if edit["to"].startswith("file:") else edit["to"]
        to = re.sub(r"\{nb:(\w+)\}", lambda m: rewriter.table.notebooks[rewriter.table.stems[m[1]][0]], to)
        if not fits(text, edit):
            raise SystemExit(f"{name}: this edit of edits.yaml does not fit any more:\n{edit.get('old') or edit['regex']}")
        text = text.replace(edit["old"], to) if "old" in edit else re.sub(edit["regex"], lambda _, to=to: to, text, count=1, flags=re.DOTALL)
    return text


def edit_notebook(path: Path, edits: list[dict], rewriter: Rewriter) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    for edit in edits:
        cells = [cell for cell in content["cells"] if fits("".join(cell["source"]), edit)]
        if not cells:
            raise SystemExit(f"{path}: this edit of edits.yaml does not fit any more:\n{edit.get('old') or edit['regex']}")
        for cell in cells:
            cell["source"] = edited("".join(cell["source"]), [edit], path.name, rewriter).splitlines(True)
    write(path, json.dumps(content, sort_keys=True, indent=1, ensure_ascii=False) + "\n")


def old_paths(table: Table) -> str:
    """The table of core/moved: one line a new package."""
    packages: dict[str, list[str]] = {}
    for old, new in table.modules.items():
        if old != new and old != "__main__":
            package, _, name = new.rpartition(".")
            packages.setdefault(package, []).append(old if old.rpartition(".")[2] == name else f"{old}>{name}")
    lines = []
    for package, entries in packages.items():
        line = f"{package}:"
        for entry in entries:
            if len(line) + len(entry) > 118:
                lines.append(line)
                line = " " * 4
            line += f" {entry}"
        lines.append(line)
    return "\n".join(lines)


def main(check: bool) -> None:
    table = Table()
    edits = yaml.safe_load((HERE / "edits.yaml").read_text(encoding="utf-8"))
    if table.problems:
        raise SystemExit("\n".join(table.problems))
    if check:
        print(f"{len(table.modules)} modules and {len(table.notebooks)} notebooks have a home in {len(table.purposes)} folders")
        return
    if (ROOT / "spar_kit" / "oracle").exists():
        raise SystemExit("spar_kit/oracle is there already: the move has been made")
    rewriter = Rewriter(table, edits)
    # texts that stay where they are
    tracked = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, tracked):
        path = ROOT / name
        if not path.is_file() or name.startswith(("tools/", "spar_kit/", "nbs/")) or name in ("README.md", "requirements/lock.txt"):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        changed = edited(rewriter.names(text), edits["files"].get(name, []), name, rewriter)
        if changed != text:
            write(path, changed)
    # the data files of the package
    for old, new in edits["data"].items():
        if "/" in old and (ROOT / old).exists():
            (ROOT / new).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(ROOT / old, ROOT / new)
    for path in sorted((ROOT / "spar_kit").rglob("*")):
        if path.suffix in (".yaml", ".json", ".j2", ".css"):
            text = path.read_text(encoding="utf-8")
            if (changed := rewriter.names(text)) != text:
                write(path, changed)
    # notebooks
    moved = {**table.notebooks, **{name: name for name in ["index", *(f"studies/{path.stem}" for path in (ROOT / "nbs/studies").glob("*.ipynb"))]}}
    texts = {new: rewriter.notebook(ROOT / "nbs" / f"{old}.ipynb", old, new) for old, new in moved.items()}
    for old in moved:
        (ROOT / "nbs" / f"{old}.ipynb").unlink()
    for new, text in texts.items():
        write(ROOT / "nbs" / f"{new}.ipynb", text)
    for old, changes in edits["notebooks"].items():
        edit_notebook(ROOT / "nbs" / f"{moved[old]}.ipynb", changes, rewriter)
    # new files
    for name, target in table.new.items():
        text = (NEW / f"{name}.ipynb").read_text(encoding="utf-8")
        write(ROOT / "nbs" / f"{target}.ipynb", text.replace("THE_TABLE", json.dumps(old_paths(table))[1:-1].replace("\\n", '\\n",\n    "')))
    for source, target in edits["copy"].items():
        write(ROOT / target, (NEW / source).read_text(encoding="utf-8"))
    for source, target in edits["append"].items():
        write(ROOT / target, (ROOT / target).read_text(encoding="utf-8").rstrip("\n") + "\n\n\n" + (NEW / source).read_text(encoding="utf-8"))
    # packages: the exported modules go, nbdev writes them anew
    for path in sorted((ROOT / "spar_kit").rglob("*.py")):
        if "AUTOGENERATED! DO NOT EDIT!" in path.read_text(encoding="utf-8")[:4000] or path.name == "_modidx.py":
            path.unlink()
    for folder, purpose in table.purposes.items():
        path = ROOT / "spar_kit" / folder / "__init__.py"
        before = path.read_text(encoding="utf-8").strip("\n") if path.exists() else ""
        after = edits["packages"].get(folder, "").strip("\n")
        write(path, "\n".join([f'"""{purpose}"""', *filter(None, [before, after])]) + "\n")
    top = ROOT / "spar_kit" / "__init__.py"
    text = rewriter.names(top.read_text(encoding="utf-8")).rstrip("\n")
    if "import logging as _logging\n" not in text:
        raise SystemExit("spar_kit/__init__.py: where do its imports begin?")
    text = text.replace("import logging as _logging\n", "import logging as _logging\nimport sys as _sys\n", 1)
    write(top, text + "\n\n\n" + edits["packages"]["."].strip("\n") + "\n")
    for path in sorted((ROOT / "nbs").rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    # export; then the imports of tests in their order: ruff takes a module that is not there for another project's
    for command in (["nbdev_export"], ["nbdev_clean"], ["python", ".ci/readme.py"], ["ruff", "check", "-q", "--select", "I", "--fix", "tests"]):
        subprocess.run([Path(sys.executable).with_name(command[0]), *command[1:]], cwd=ROOT, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    print(f"moved {len(table.notebooks)} notebooks, {sum(old != new for old, new in table.modules.items())} modules have a new path, {len(table.purposes)} folders")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    main(parser.parse_args().check)
