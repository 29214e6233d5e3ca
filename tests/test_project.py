"""The repository itself: notebooks, package and README agree, studies can be given parameters,
packages import one way."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from spar_kit.runs.plan import load_plan, notebook_parameters, read_yaml

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted(
    path for path in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts
)
STUDIES = sorted((ROOT / "nbs" / "studies").glob("*.ipynb"))
MODULES = sorted(path for path in (ROOT / "spar_kit").rglob("*.py") if path.name != "_modidx.py")


def cells(path):
    return json.loads(path.read_text())["cells"]


def test_the_studies_are_there():
    assert {path.stem for path in STUDIES} == {
        "generate",
        "train",
        "evaluate",
        "compare",
        "seeds",
        "gallery",
    }


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_study_has_one_parameters_cell_and_exports_nothing(path):
    """nbdev_clean deletes the tag unless settings.ini allows it; Papermill then injects on top,
    with a warning only."""
    parameters = notebook_parameters(path)
    assert "out" in parameters and all(parameter.help for parameter, _ in parameters.values())
    assert not any(
        re.search(r"^#\|\s*(export|default_exp)", "".join(cell["source"]), re.M)
        for cell in cells(path)
    )
    assert json.loads(path.read_text())["metadata"]["language_info"]["name"] == "python", (
        "Papermill needs the language"
    )


@pytest.mark.parametrize(
    "path", sorted((ROOT / "params").glob("*/*.yaml")), ids=lambda path: path.stem
)
def test_every_plan_fits_its_notebooks(path):
    values, _ = read_yaml(path)
    if path.parent.name == "studies":
        assert load_plan(path).steps
    else:
        from spar_kit.train.config import TrainParams

        assert values.pop("data") and values.pop("out") and TrainParams.from_dict(values)


def test_every_module_has_its_notebook():
    for module in MODULES:
        found = re.search(r"File to edit: ((?:\.\./)+nbs/\S+\.ipynb)", module.read_text())
        if module.name != "__init__.py":
            assert found and (module.parent / found[1]).resolve().is_file(), (
                f"{module} comes from no notebook"
            )


def test_notebooks_are_small_and_have_a_title():
    for path in NOTEBOOKS:
        first = next(
            "".join(cell["source"]) for cell in cells(path) if cell["cell_type"] == "markdown"
        )
        assert first.startswith("# ") and "\n> " in first, (
            f"{path} does not open with a title and one line on what it is"
        )
        # that one shows a question of each of the 35 tasks
        most = 1.2e6 if path.stem == "gallery" else 0.5e6
        assert path.stat().st_size < most, f"{path} is {path.stat().st_size / 1e3:.0f} kB"


def test_the_package_imports_no_development_tool():
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                names = []
            assert not {name.split(".")[0] for name in names} & {"nbdev", "fastcore", "execnb"}, (
                module
            )


def test_the_data_side_runs_without_torch():
    code = (
        "import sys\nfor name in ('torch', 'transformers', 'peft', 'bitsandbytes'):"
        " sys.modules[name] = None\nimport spar_kit.data.generate, spar_kit.oracle.verify,"
        " spar_kit.bench.scorers.table, spar_kit.cli.main"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "names",
    [
        "spar_kit.train.trainer, bitsandbytes",
        "spar_kit.train.models, peft",
        "spar_kit.bench.models.local, bitsandbytes",
        "",
    ],
)
def test_no_import_speaks_before_the_kit_does(names):
    """Libraries that warn while they are imported would stand before the kit's own line, for a user
    as for `test_bad_input_is_one_line`."""
    every = (
        "import importlib, pkgutil, spar_kit\nfor found in pkgutil.walk_packages(spar_kit.__path__,"
        " 'spar_kit.'): importlib.import_module(found.name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import {names}" if names else every],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_bitsandbytes_need_for_a_hub_is_not_reported():
    """It warns on processors with AVX512-BF16 only; this says the same on any machine."""
    code = (
        "import spar_kit.train.trainer,"
        " logging\nlogging.getLogger('bitsandbytes.backends.cpu.ops').warning('Failed to load CPU"
        " gemm_4bit_forward')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")


def test_readme_is_in_step_and_its_links_lead_somewhere():
    before = (ROOT / "README.md").read_text()
    subprocess.run([sys.executable, str(ROOT / ".ci" / "readme.py")], check=True)
    assert (ROOT / "README.md").read_text() == before, (
        "README.md was not made from nbs/index.ipynb; it is now"
    )
    for link in re.findall(r"\]\((?!https?:|#)([^)]+)\)", before):
        assert (ROOT / link).exists(), link
    for command in re.findall(r"^make (\w+)", before, re.M):
        assert re.search(rf"^{command}:", (ROOT / "Makefile").read_text(), re.M), command


def test_pre_commit_calls_what_exists():
    """Local hooks only: nothing is fetched, and the checks are those of `make style`."""
    values, _ = read_yaml(ROOT / ".pre-commit-config.yaml")
    makefile = (ROOT / "Makefile").read_text()
    project = (ROOT / "pyproject.toml").read_text()
    hooks = [hook for repository in values["repos"] for hook in repository["hooks"]]
    assert {repository["repo"] for repository in values["repos"]} == {"local"} and {
        hook["language"] for hook in hooks
    } == {"system"}
    for hook in hooks:
        program, *arguments = (
            re.sub(r"^env \S+ ", "", hook["entry"]).replace(".venv/bin/", "").split()
        )
        if program.startswith(".ci/") or arguments[:1] == [".ci/links.py"]:
            assert (ROOT / (program if program.startswith(".ci/") else arguments[0])).is_file(), (
                hook["entry"]
            )
        else:
            assert f"@{' '.join([program, *arguments])}\n" in makefile, (
                f"make style does not call {hook['entry']}"
            )
            assert {"lint-imports": "import-linter"}.get(program, program) in project
        for name in arguments[1:] if program != "lint-imports" else ():
            assert name.startswith("--") or (ROOT / name).exists(), name
    assert len(hooks) == len({hook["id"] for hook in hooks}) >= 5


def test_folders_are_small_and_notebooks_are_numbered():
    """A folder of more than twelve modules is searched, not read. nbs/ is the same tree as
    spar_kit/; only `index` and the studies have no number."""
    for kind, found in {
        "notebooks": [
            path for path in NOTEBOOKS if path.parent not in (ROOT / "nbs", ROOT / "nbs/studies")
        ],
        "modules": [path for path in MODULES if path.stem[0] != "_"],
    }.items():
        held = {}
        for path in found:
            held.setdefault(path.parent, []).append(path.name)
        full = {
            str(folder.relative_to(ROOT)): len(names)
            for folder, names in held.items()
            if len(names) > 12
        }
        assert not full, f"folders with more than 12 {kind}: {full}"
        if kind == "notebooks":
            unnumbered = [
                str(path.relative_to(ROOT))
                for path in found
                if not re.fullmatch(r"\d[05]_[a-z]\w*\.ipynb", path.name)
            ]
            assert not unnumbered, f"notebooks are called 00_name, 10_name, ...: {unnumbered}"
    assert {path.name for path in (ROOT / "nbs").glob("*.ipynb")} == {"index.ipynb"}


def test_a_module_and_its_notebook_lie_in_the_same_folder():
    for module in MODULES:
        found = re.search(r"File to edit: ((?:\.\./)+nbs/\S+\.ipynb)", module.read_text())
        if found and module.name != "__main__.py":
            notebook = (module.parent / found[1]).resolve()
            assert notebook.parent.relative_to(ROOT / "nbs") == module.parent.relative_to(
                ROOT / "spar_kit"
            ), module
            assert notebook.stem.partition("_")[2] == module.stem, module


def test_every_package_says_what_it_is_for():
    for package in {module.parent for module in MODULES} - {ROOT / "spar_kit"}:
        assert ast.get_docstring(ast.parse((package / "__init__.py").read_text())), (
            f"{package} has no docstring in its __init__.py, which the README prints"
        )
