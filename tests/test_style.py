"""How the code is written: short cells with something to look at between them, one public name for
one thing, few positional arguments, docstrings that name the parameters there are."""

import ast
import json
import re
import statistics
from collections import defaultdict
from pathlib import Path

import pytest

from spar_kit.tasks.registry import TASKS

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted(
    path for path in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts
)
MODULES = sorted(path for path in (ROOT / "spar_kit").rglob("*.py") if path.stem[0] != "_")
MAX_LINES = 40
REASON = "# over 40 lines: "
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
DOCUMENTED = FUNCTIONS | ast.ClassDef | ast.Module


def code_cells(path):
    """The sources of a notebook's code cells that are not empty."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return [source for source in sources if source.strip()]


def is_exported(source):
    return re.match(r"#\|\s*export", source.lstrip()) is not None


def parsed(source):
    lines = source.splitlines()
    magic = ("#|", "%", "!")
    return ast.parse("\n".join("" if line.lstrip().startswith(magic) else line for line in lines))


def count_lines(source):
    """Lines of code: imports, docstrings, comments and blank lines aside."""
    tree = parsed(source)
    aside = set()
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            aside |= set(range(node.lineno, node.end_lineno + 1))
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            aside |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return sum(
        bool(line.strip()) and not line.lstrip().startswith("#")
        for number, line in enumerate(source.splitlines(), 1)
        if number not in aside
    )


def test_lines_are_counted_without_imports_and_docstrings():
    source = (
        '#| export\nimport os\n\n\ndef f():\n    """Two\n    lines."""\n    # why\n    return os\n'
    )
    assert count_lines(source) == 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_exported_cells_are_short_and_something_stands_between_them(path):
    """A cell holds one idea: at most 40 lines, or a reason. After two of them stands an example."""
    in_a_row = 0
    for source in code_cells(path):
        if not is_exported(source):
            if not source.lstrip().startswith("#|"):
                in_a_row = 0
            continue
        in_a_row += 1
        first = source.splitlines()[1] if len(source.splitlines()) > 1 else ""
        lines = count_lines(source)
        assert lines <= MAX_LINES or REASON in source, f"{lines} lines without a reason: {first}"
        assert in_a_row <= 2, f"exported cell {in_a_row} in a row: {first}"


def test_most_exported_cells_are_shorter_and_few_need_a_reason():
    sources = [source for path in NOTEBOOKS for source in code_cells(path) if is_exported(source)]
    assert statistics.median(map(count_lines, sources)) <= 20
    assert sum(REASON in source for source in sources) <= len(sources) / 15


def shows_something(source):
    """Whether a cell prints at its top, and so has an output."""
    if source.lstrip().startswith("#|"):
        return False
    for node in parsed(source).body:
        call = node.value if isinstance(node, ast.Expr) else None
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            if call.func.id == "print":
                return True
    return False


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_cell_that_prints_is_committed_with_what_it_printed(path):
    """A notebook is read, not only run. The studies are templates: Papermill fills them."""
    if path.parent.name == "studies":
        return
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and source.strip() and shows_something(source):
            assert cell["outputs"], f"no output, so run the notebook and clean it: {source[:200]}"


def public_names(path):
    """The names that a module defines at its top, those of its own and not imported."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, FUNCTIONS | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def test_a_public_name_stands_in_one_module():
    """Apart on purpose: the oracle, which has a specification of its own; the commands, which are
    called as what they do; the readers, which know nothing of one another. Within each of these
    too, a name stands once, but for the tasks' own names and what all readers have."""
    homes = defaultdict(list)
    for path in MODULES:
        module = path.relative_to(ROOT / "spar_kit").with_suffix("").as_posix()
        shelf = next((s for s in ("oracle", "cli") if module.startswith(f"{s}/")), "kit")
        if module.startswith("scenes/readers/"):
            shelf = "/".join(module.split("/")[:3])
        for name in public_names(path):
            if name[0] != "_" and name not in TASKS:
                homes[shelf, name].append(module)
    twice = {name: modules for (_, name), modules in homes.items() if len(modules) > 1}
    assert twice == {"app": ["cli/main", "cli/scenes"], "main": ["cli/main", "cli/speed"]}


def documented_names(text):
    """The names before the colons of the section "Args:" of a docstring."""
    section = re.split(r"\n(?=\S)", text.partition("Args:\n")[2])[0]
    lines = [line for line in section.splitlines() if line.strip()]
    indent = min((len(line) - len(line.lstrip()) for line in lines), default=0)
    for line in lines:
        found = re.match(rf" {{{indent}}}([\w*]+(?:, [\w*]+)*):", line)
        if found:
            yield from (name.strip("*") for name in found[1].split(", "))


def parameters(node):
    """What a function takes; of a class its fields, methods and the parameters of __init__."""
    if isinstance(node, FUNCTIONS):
        every = node.args
        more = [arg for arg in (every.vararg, every.kwarg) if arg]
        return {arg.arg for arg in (*every.posonlyargs, *every.args, *every.kwonlyargs, *more)}
    fields = {
        part.target.id
        for part in node.body
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)
    }
    methods = [part for part in node.body if isinstance(part, FUNCTIONS)]
    built = [parameters(part) for part in methods if part.name in ("__init__", "__new__")]
    return fields.union(*built, (part.name for part in methods))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_docstrings_name_the_parameters_there_are(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, FUNCTIONS | ast.ClassDef):
            unknown = set(documented_names(ast.get_docstring(node) or "")) - parameters(node)
            assert not unknown, f"{node.name}: {sorted(unknown)}"


# one job as it crosses to another process; one key of a cache: a tuple is passed on as it is
PASSED_WHOLE = {"check_scene", "_shown"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_an_expression_has_one_condition_and_assigns_nothing_inside_a_call(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.IfExp):
            inside = (node.test, node.body, node.orelse)
            nested = any(isinstance(part, ast.IfExp) for part in inside)
            assert not nested, f"line {node.lineno}: {ast.unparse(node)}"
        if isinstance(node, ast.Call):
            passed = [*node.args, *(keyword.value for keyword in node.keywords)]
            assigned = any(isinstance(part, ast.NamedExpr) for part in passed)
            assert not assigned, f"line {node.lineno}: {ast.unparse(node)}"


def is_command_or_compiled(node):
    """Typer reads a command's signature; numba takes no keyword-only arguments."""
    marks = " ".join(ast.unparse(mark) for mark in node.decorator_list)
    return "jit" in marks or "command" in marks


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_at_most_five_arguments_are_positional(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, FUNCTIONS) or is_command_or_compiled(node):
            continue
        names = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args)]
        names = names[1:] if names[:1] in (["self"], ["cls"]) else names
        if node.name not in PASSED_WHOLE and path.parent.name != "cli":
            assert len(names) <= 5, f"{node.name}{tuple(names)}"
