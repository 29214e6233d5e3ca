"""What each of some fifty edits makes run again: everything whose result it can change, and nothing
else."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALL = "generate train evaluate compare"
FROM_TRAIN = "train evaluate compare"
FROM_EVALUATE = "evaluate compare"
COMPARE = "compare"
NONE = ""
STUDY = "nbs/studies/"

# name: (file, old, new, what runs again) of the demo's plan, in a copy of the project
FILES = {
    "bench/baselines/chance.py": (
        "spar_kit/bench/baselines/chance.py",
        "\nimport ",
        "\nADDED = 1\nimport ",
        FROM_EVALUATE,
    ),
    "bench/analysis/factors.py": (
        "spar_kit/bench/analysis/factors.py",
        "\nimport ",
        "\nADDED = 1\nimport ",
        FROM_EVALUATE,
    ),
    "bench/models/local.py, imported by one study": (
        "spar_kit/bench/models/local.py",
        "\nimport ",
        "\nADDED = 1\nimport ",
        FROM_EVALUATE,
    ),
    "report/run_set.py": (
        "spar_kit/report/run_set.py",
        "\nimport ",
        "\nADDED = 1\nimport ",
        FROM_EVALUATE,
    ),
    "report/score_report.py": (
        "spar_kit/report/score_report.py",
        "\nimport ",
        "\nADDED = 1\nimport ",
        FROM_EVALUATE,
    ),
    "report/score_sections.py": (
        "spar_kit/report/score_sections.py",
        "\nimport ",
        "\nADDED = 1\nimport ",
        FROM_EVALUATE,
    ),
    "runs/components.py, used by all": (
        "spar_kit/runs/components.py",
        "\nimport ",
        "\nADDED = 1\nimport ",
        ALL,
    ),
    "runs/sweep.py, which only runs them": (
        "spar_kit/runs/sweep.py",
        "\nimport ",
        "\nADDED = 1\nimport ",
        NONE,
    ),
    "report/notebook_report.py": (
        "spar_kit/report/notebook_report.py",
        "\nimport ",
        "\nADDED = 1\nimport ",
        NONE,
    ),
    "runs/cache_keys.py": (
        "spar_kit/runs/cache_keys.py",
        "\nimport ",
        "\nADDED = 1\nimport ",
        NONE,
    ),
    "cli/main.py": ("spar_kit/cli/main.py", "\nimport ", "\nADDED = 1\nimport ", NONE),
    "report/gallery.py, of another study": (
        "spar_kit/report/gallery.py",
        "\nimport ",
        "\nADDED = 1\nimport ",
        NONE,
    ),
    "a style of pages": ("spar_kit/report/templates/spar/style.css", "{", "{ ", NONE),
    "a template of pages": (
        "spar_kit/report/templates/spar/page.html.j2",
        "<body>",
        "<body >",
        NONE,
    ),
    "tasks/registry.py": ("spar_kit/tasks/registry.py", "\nimport ", "\nADDED = 1\nimport ", ALL),
    "data/scene_job.py": ("spar_kit/data/scene_job.py", "\nimport ", "\nADDED = 1\nimport ", ALL),
    "scenes/geometry/rasterizer.py": (
        "spar_kit/scenes/geometry/rasterizer.py",
        "\nimport ",
        "\nADDED = 1\nimport ",
        ALL,
    ),
    "scenes/readers/arkitscenes.py, imported in a function": (
        "spar_kit/scenes/readers/arkitscenes.py",
        "\nimport ",
        "\nADDED = 1\nimport ",
        ALL,
    ),
    "the package's own file": (
        "spar_kit/__init__.py",
        "__version__",
        "ADDED = 1\n__version__",
        ALL,
    ),
    "train/trainer.py": (
        "spar_kit/train/trainer.py",
        "\nimport ",
        "\nADDED = 1\nimport ",
        FROM_TRAIN,
    ),
    "train/warmup/optim.py, imported in a function": (
        "spar_kit/train/warmup/optim.py",
        "\nimport ",
        "\nADDED = 1\nimport ",
        FROM_TRAIN,
    ),
    "a comment in a module": (
        "spar_kit/tasks/registry.py",
        "\nimport ",
        "\n# a word more\nimport ",
        NONE,
    ),
    "a docstring": ("spar_kit/train/trainer.py", '"""', '"""Now this: ', NONE),
    "a docstring of a function": (
        "spar_kit/tasks/registry.py",
        '    """The tasks named',
        '    """All tasks named',
        NONE,
    ),
    "an empty line and spaces": ("spar_kit/data/scene_job.py", "\nimport ", "\n\nimport  ", NONE),
    "the published scores": ("spar_kit/bench/analysis/published.yaml", "63", "64", FROM_EVALUATE),
    "a comment in the published scores": (
        "spar_kit/bench/analysis/published.yaml",
        "\n",
        "\n# checked again\n",
        NONE,
    ),
    "a wording of questions": (
        "spar_kit/language/templates/shared.yaml",
        "Take the center",
        "Use the center",
        ALL,
    ),
    "a comment in the wordings": (
        "spar_kit/language/templates/shared.yaml",
        "\n",
        "\n# checked again\n",
        NONE,
    ),
    "README.md": ("README.md", "a", "b", NONE),
    "a test": ("tests/toys.py", "\nimport ", "\nADDED = 1\nimport ", NONE),
    "the plan's title": ("params/studies/demo.yaml", re.compile("title: "), "title: Now ", NONE),
    "the plan's about": (
        "params/studies/demo.yaml",
        re.compile("about: >-\n"),
        "about: >-\n  Now: ",
        NONE,
    ),
    "a comment in the plan": (
        "params/studies/demo.yaml",
        re.compile(r"\A"),
        "# a word more\n",
        NONE,
    ),
    "expect": ("params/studies/demo.yaml", re.compile(r"expect: \d+"), "expect: 999", NONE),
    "a timeout": (
        "params/studies/demo.yaml",
        re.compile(r"    expect: \d+"),
        r"    timeout: 999\n\g<0>",
        NONE,
    ),
    "a value": ("params/studies/demo.yaml", re.compile(r"\br: \d+"), "r: 3", FROM_TRAIN),
    "a value of the last step": (
        "params/studies/demo.yaml",
        re.compile(r"seed: 0\s*\Z"),
        "seed: 1\n",
        COMPARE,
    ),
    "workers of generation": (
        "params/studies/demo.yaml",
        re.compile(r"(?s)(  generate:.*?workers: )\d+"),
        r"\g<1>7",
        NONE,
    ),
    "workers of training": (
        "params/studies/demo.yaml",
        re.compile(r"(?s)(  train:.*?dataloader_num_workers: )\d+"),
        r"\g<1>7",
        NONE,
    ),
    "threads of training, which change its sums": (
        "params/studies/demo.yaml",
        re.compile(r"threads: \d+"),
        "threads: 7",
        FROM_TRAIN,
    ),
    "a value that is the default": (
        "params/studies/demo.yaml",
        re.compile(r"limit: \d+"),
        r"batch_size: 64\n      \g<0>",
        NONE,
    ),
    "prose of a study": (f"{STUDY}train.ipynb", re.compile('"# '), '"# Now: ', NONE),
    "a comment in a cell": (
        f"{STUDY}evaluate.ipynb",
        "folder = Path(out)",
        "folder = Path(out)  # here",
        NONE,
    ),
    "a caption": (
        f"{STUDY}evaluate.ipynb",
        re.compile(r"#\| fig-cap: "),
        "#| fig-cap: Now: ",
        NONE,
    ),
    "a help text of a parameter": (
        f"{STUDY}train.ipynb",
        "# rank of the adapter",
        "# rank of it",
        NONE,
    ),
    "code in a cell": (
        f"{STUDY}evaluate.ipynb",
        "folder = Path(out)",
        "folder = Path(out, 'x')",
        FROM_EVALUATE,
    ),
    "a default that the plan does not set": (
        f"{STUDY}evaluate.ipynb",
        "batch_size: int = 64",
        "batch_size: int = 32",
        FROM_EVALUATE,
    ),
    "a default that the plan sets": (
        f"{STUDY}evaluate.ipynb",
        "limit: int = 40",
        "limit: int = 41",
        NONE,
    ),
}
# name: (file, old, new, whether it runs again) of a step on one's own scans, with a source and a
# module of one's own
OWN = {
    "one's own source": ("own.py", "return 1", "return 2", True),
    "a comment in it": ("own.py", "return 1", "return 1  # one", False),
    "a module that it imports": ("beside.py", "SIZE = 1", "SIZE = 2", True),
    "a module that the notebook imports": ("mine/part.py", "X = 1", "X = 2", True),
    "a docstring in it": ("mine/part.py", "X = 1", '"""Says what."""\nX = 1', False),
    "a module in the same folder that nobody imports": ("other.py", "Y = 1", "Y = 2", False),
    "a picture six folders down": ("scans/a/b/c/d/e/1.jpg", "picture", "PICTURE", True),
    "what a file manager leaves": ("scans/.DS_Store", "x", "y", False),
    "a list of scenes": ("held_out.txt", "room_1", "room_2", True),
    "one of several files in a value": ("second.txt", "b", "c", True),
}


@contextmanager
def edited(path: Path, old: str | re.Pattern[str], new: str) -> Iterator[None]:
    text = path.read_text(encoding="utf-8")
    if isinstance(old, re.Pattern):
        changed = old.sub(new, text, count=1)
    elif path.suffix == ".ipynb":
        changed = text.replace(json.dumps(old)[1:-1], json.dumps(new)[1:-1], 1)
    else:
        changed = text.replace(old, new, 1)
    assert changed != text, f"{path}: {old!r} is not there"
    path.write_text(changed, encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(text, encoding="utf-8")


def look() -> None:
    """In a copy of the project: the steps whose keys each edit changes, as JSON."""
    from spar_kit.runs import cache_keys as keys
    from spar_kit.runs.plan import load_plan
    from spar_kit.runs.sweep import expand_grid

    assert Path(keys.__file__).is_relative_to(Path.cwd())

    def names(plan: str, *settings: str) -> dict[str, str]:
        keys._data_files.cache_clear()
        return {
            run.step: run.key
            for run in expand_grid(
                load_plan(Path("params/studies", plan), settings),
                Path("params/studies"),
                Path("store"),
            )
        }

    def changed(plan: str, before: dict[str, str]) -> str:
        return " ".join(step for step, key in names(plan).items() if before[step] != key)

    found = {}
    demo = names("demo.yaml")
    own = names("own.yaml")
    for name, (file, old, new, _) in FILES.items():
        with edited(Path(file), old, new):
            found[name] = changed("demo.yaml", demo)
    for name, (file, old, new, _) in OWN.items():
        with edited(Path(file), old, new):
            found[name] = changed("own.yaml", own)
    os.utime("scans/a/b/c/d/e/1.jpg")
    found["a date"] = changed("own.yaml", own)
    shutil.copytree("scans", "moved")
    found["a copy elsewhere, by its name"] = " ".join(
        step
        for step, key in names("own.yaml", "own.source=scannet:moved").items()
        if key != own[step]
    )
    real = keys.version
    installed = keys.environment
    versions: dict[str, Callable[[str], str]] = {
        name: lambda asked, name=name: "999" if asked.lower() == name else real(asked)
        for name in ("torch", "numpy", "bitsandbytes", "ruff", "markupsafe")
    }
    for name, version in versions.items():
        keys.version = version
        found[f"version of {name}"] = changed("demo.yaml", demo)
    keys.version = real
    for name, value in (("python", "3.99.1"), ("lock", "another"), ("machine", "another")):
        keys.environment = lambda name=name, value=value: {**installed(), name: value}
        found[name] = changed("demo.yaml", demo)
    keys.environment = installed
    assert (names("demo.yaml"), names("own.yaml")) == (demo, own)
    print(json.dumps(found))


EXPECTED = (
    {name: edit[3] for name, edit in FILES.items()}
    | {name: "own" if edit[3] else "" for name, edit in OWN.items()}
    | {
        "a date": "",
        "a copy elsewhere, by its name": "own",
        "version of torch": FROM_TRAIN,
        "version of numpy": ALL,
        "version of bitsandbytes": FROM_TRAIN,
        "version of ruff": "",
        "version of markupsafe": ALL,
        "python": ALL,
        "lock": ALL,
        "machine": "",
    }
)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    copy = tmp_path_factory.mktemp("project")
    for name in ("spar_kit", "params", "nbs/studies", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "README.md", copy)
    texts = {
        "own.py": "import beside\n\ndef make():\n    return 1\n",
        "beside.py": "SIZE = 1\n",
        "other.py": "Y = 1\n",
        "mine/__init__.py": "",
        "mine/part.py": "X = 1\n",
        "scans/a/b/c/d/e/1.jpg": "picture",
        "scans/.DS_Store": "x",
        "held_out.txt": "room_1\n",
        "first.txt": "a",
        "second.txt": "b",
        "params/studies/own.yaml": (
            "name: own\nsteps:\n  own: {notebook: own.ipynb, params: {source: 'scannet:scans',"
            " code: 'python:own.py:make', lists: [held_out.txt], more: 'first.txt,second.txt'}}\n"
        ),
    }
    for name, text in texts.items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text(text)
    cells = [
        {
            "cell_type": "code",
            "metadata": {"tags": ["parameters"]},
            "source": (
                "source: str = ''\ncode: str = ''\nlists: list[str] = []\nmore: str = ''\nout: str"
                " = ''"
            ),
        },
        {"cell_type": "code", "metadata": {}, "source": "%time from mine import part"},
    ]
    (copy / "params/studies/own.ipynb").write_text(json.dumps({"cells": cells, "metadata": {}}))
    done = subprocess.run(
        [sys.executable, str(copy / "tests/test_keys.py")],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", EXPECTED)
def test_what_an_edit_makes_run_again(found, name):
    assert found[name] == EXPECTED[name]


if __name__ == "__main__":
    look()
