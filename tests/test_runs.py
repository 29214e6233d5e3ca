"""runs: parameters are refused before anything starts, a sweep reuses, resumes and survives
failures, a report loads nothing."""

import ast
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import nbformat
import pytest

from spar_kit.report.notebook_report import build_report, render, write_summary
from spar_kit.runs.cache_keys import reached
from spar_kit.runs.plan import (
    ParamsError,
    load_plan,
    notebook_parameters,
    parse_override,
    read_yaml,
)
from spar_kit.runs.sweep import execute, expand_grid, format_duration, sweep

MAKE = "seed: int = 0  # of everything\nout: str = ''  # folder"
LEARN = (
    "data: str = ''  # what to read\nrate: float = 0.1  # speed\nkind: str = 'ok'  # how it"
    " ends\nout: str = ''  # folder"
)
STEPS = """
name: toy
title: A <toy>
about: Two steps.
steps:
  make: {notebook: make.ipynb, params: {seed: 3}, expect: 2}
  learn:
    notebook: learn.ipynb
    grid: {rate: [0.1, 1e-2]}
    needs: {data: make}
    expect: 2
"""


def notebook(path, parameters, *cells):
    if not cells or not cells[0].startswith("# "):
        made = [nbformat.v4.new_markdown_cell("# Toy\n\n> About toys.")]
    else:
        made = []
    made.append(nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    made += [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(
        nbformat.v4.new_notebook(
            cells=made,
            metadata={
                "kernelspec": {"name": "python3", "language": "python", "display_name": "python3"}
            },
        ),
        path,
    )


@pytest.fixture
def folder(tmp_path):
    notebook(
        tmp_path / "make.ipynb",
        MAKE,
        "import os, json\nos.makedirs(out, exist_ok=True)\nopen(out + '/data.txt',"
        " 'w').write(str(seed))",
    )
    notebook(
        tmp_path / "learn.ipynb",
        LEARN,
        """import os, sys, json, signal
os.makedirs(out, exist_ok=True)
if kind == 'raises': raise ValueError('too fast')
if kind == 'dies': os.kill(os.getpid(), signal.SIGKILL)
if kind == 'leaves': sys.exit(0)
if kind == 'sleeps':
    import time; time.sleep(60)
data = open(data + '/data.txt').read()
json.dump({'headline': f'{data} at {rate}', 'compare': {'score': 100 * rate}}, open(out + '/row.json', 'w'))""",  # noqa: E501
        "print(data, rate)",
    )
    (tmp_path / "toy.yaml").write_text(STEPS)
    return tmp_path


def runs_of(folder, *settings):
    return expand_grid(load_plan(folder / "toy.yaml", settings), folder, folder / "store")


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "says"),
    [
        ("seed: 3", "sead: 3", 6, "steps.make.params.sead", "did you mean 'seed'"),
        ("seed: 3", "seed: '3'", 6, "steps.make.params.seed", "integer"),
        ("seed: 3", "seed: true", 6, "steps.make.params.seed", "integer"),
        ("seed: 3", "seed: no", 6, "steps.make.params.seed", 'not "no"'),
        ("[0.1, 1e-2]", "[0.1, fast]", 9, "steps.learn.grid.rate", "number"),
        ("[0.1, 1e-2]", "0.1", 9, "steps.learn.grid.rate", "list"),
        ("data: make", "data: learn", 10, "steps.learn.needs.data", "not an earlier step"),
        ("data: make", "datta: make", 10, "steps.learn.needs.datta", "did you mean 'data'"),
        ("title:", "titel:", 3, "titel", "did you mean 'title'"),
        (
            "notebook: learn.ipynb",
            "notbook: learn.ipynb",
            8,
            "steps.learn.notbook",
            "did you mean 'notebook'",
        ),
        ("name: toy", "name: ../toy", 2, "name", "pattern"),
        ("make.ipynb", "mad.ipynb", 6, "steps.make.notebook", "no notebook"),
        ("expect: 2}", "expect: 0}", 6, "steps.make.expect", "greater than 0"),
    ],
)
def test_a_mistake_is_named_with_file_line_and_field(folder, old, new, line, field, says):
    (folder / "bad.yaml").write_text(STEPS.replace(old, new, 1))
    with pytest.raises(ParamsError) as refused:
        load_plan(folder / "bad.yaml")
    text = str(refused.value)
    assert (
        text.startswith(f"{folder / 'bad.yaml'}:")
        and field in text
        and says in text
        and "\n" not in text
    )
    assert refused.value.line == line


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1.0e-3", 0.001),
        ("no", "no"),
        ("010", "010"),
        ("true", True),
        ("~", None),
        (".5", 0.5),
        ("12", 12),
        ("-3", -3),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2020-01-01", "2020-01-01"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(tmp_path, text, value):
    (tmp_path / "a.yaml").write_text(f"x: {text}\n")
    found = read_yaml(tmp_path / "a.yaml")[0]["x"]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "- 1\n",
        "",
        "x: [1\n",
        "x: 1\nx: 2\n",
        "x: &a [*a]\n",
        "x: !!python/object/apply:os.system ['true']\n",
    ],
)
def test_a_broken_file_is_one_line(tmp_path, text):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ParamsError) as refused:
        read_yaml(tmp_path / "a.yaml")
    assert "\n" not in str(refused.value)


def test_settings_from_the_command_line(folder):
    assert parse_override("generate.source=scannet:../a b") == (
        "generate",
        "source",
        "scannet:../a b",
    )
    assert load_plan(folder / "toy.yaml", ["learn.rate=1e-3"]).steps["learn"].grid == {}
    with pytest.raises(ValueError, match="no step"):
        load_plan(folder / "toy.yaml", ["lean.rate=1"])
    with pytest.raises(ParamsError, match="integer"):
        load_plan(folder / "toy.yaml", ["make.seed=x"])


def test_parameters_are_read_without_running(tmp_path):
    notebook(
        tmp_path / "a.ipynb",
        "n: int = 200  # points # and more\nmix: dict[str, float] = {'a': 1.0}  # shares\nkind:"
        " Literal['x', 'y'] = 'x'\nwho: str | None = None",
    )
    found = notebook_parameters(tmp_path / "a.ipynb")
    assert found["n"][0].help == "points # and more" and found["mix"][0].default == {"a": 1.0}
    notebook(tmp_path / "b.ipynb", "n: int = 200\nimport os")
    with pytest.raises(ParamsError, match="line 2"):
        notebook_parameters(tmp_path / "b.ipynb")


def test_the_key_is_all_that_a_result_depends_on(folder):
    before = runs_of(folder)
    assert [run.label for run in before] == ["", "rate=0.1", "rate=0.01"]
    assert [run.key for run in runs_of(folder)] == [run.key for run in before]
    other = runs_of(folder, "make.seed=4")
    assert not {run.key for run in other} & {run.key for run in before}, (
        "a change upstream reaches what stands on it"
    )
    notebook(folder / "learn.ipynb", LEARN, "print('changed')")
    changed = runs_of(folder)
    assert changed[0].key == before[0].key and changed[1].key != before[1].key


def test_the_key_sees_the_files_behind_a_path(folder):
    (folder / "scans").mkdir()
    notebook(folder / "make.ipynb", "source: str = ''\nout: str = ''", "pass")
    (folder / "toy.yaml").write_text(
        "name: toy\nsteps: {make: {notebook: make.ipynb, params: {source:"
        f" 'scannet:{folder / 'scans'}'}}}}}}"
    )
    before = runs_of(folder)[0].key
    (folder / "scans" / "a.ply").write_text("x")
    assert runs_of(folder)[0].key != before


def test_the_key_follows_imports_into_all_of_the_package():
    found = reached(
        [
            ast.parse(
                "def f():\n    from spar_kit.tasks.registry import compute_facts\nfrom"
                " spar_kit.report.run_set import load_runs"
            )
        ]
    )
    assert {
        "spar_kit.tasks.registry",
        "spar_kit.scenes.scene",
        "spar_kit.report.run_set",
        "spar_kit.bench.baselines.chance",
        "spar_kit/bench/analysis/published.yaml",
    } <= set(found.modules)
    assert (
        not {"spar_kit.runs.sweep", "spar_kit.report.notebook_report", "spar_kit.cli.main"}
        & set(found.modules)
        and {"numpy", "pandas"} <= found.outside
    )


def test_grids_of_two_steps_and_a_step_that_collects(folder):
    (folder / "toy.yaml").write_text(
        STEPS.replace("params: {seed: 3}", "grid: {seed: [1, 2]}")
        + """  both:
    notebook: learn2.ipynb
    needs: {data: make, model: learn}
  all:
    notebook: all.ipynb
    collects: {runs: both}
"""
    )
    notebook(folder / "learn2.ipynb", "data: str = ''\nmodel: str = ''\nout: str = ''")
    notebook(folder / "all.ipynb", "runs: list[str] = []\nout: str = ''")
    made = runs_of(folder)
    assert [sum(run.step == step for run in made) for step in ("make", "learn", "both", "all")] == [
        2,
        4,
        4,
        1,
    ]
    for run in made:
        if run.step == "both":  # data and model of one branch
            assert {"seed=1" in run.label} == {
                "seed=1" in other.label for other in made if other.name in run.upstream
            }
    assert len(made[-1].params["runs"]) == 4 and len(made[-1].upstream) == 4


def test_runs_are_executed_reused_and_reported(folder):
    lines = []
    runs = runs_of(folder)
    assert [outcome.status for outcome in sweep(runs, workers=2, say=lines.append)] == ["done"] * 3
    outcomes = sweep(runs_of(folder), say=lines.append)
    assert [outcome.status for outcome in outcomes] == ["cached"] * 3 and lines[-4].startswith(
        "3 runs, 3 of them done before"
    )
    assert not list((folder / "store").rglob("*.part*")) and not list(
        (folder / "store").rglob("progress.txt")
    )
    write_summary(
        load_plan(folder / "toy.yaml"), outcomes, folder / "report", params=folder / "toy.yaml"
    )
    index = build_report(folder / "report").read_text()
    assert (
        "A &lt;toy&gt;" in index
        and index.count('class="step"') == 3
        and ">10.0<" in index
        and ">1.0<" in index
        and "3 at 0.01" in index
    )
    for page in [index, *(path.read_text() for path in (folder / "report").glob("learn-*.html"))]:
        for link in re.findall(r"href=\"?([^\"> ]+)", page):
            assert link.startswith(("#", "data:")) or (folder / "report" / link).is_file(), link


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("raises", "ValueError: too fast"),
        ("dies", "kernel died"),
        ("leaves", "ended early"),
        ("sleeps", "timeout"),
    ],
)
def test_a_failed_run_is_named_and_tried_again(folder, kind, says):
    """Papermill's own metadata says `completed` after a killed kernel and a timeout, so nothing
    here reads it."""
    (folder / "toy.yaml").write_text(
        STEPS.replace("expect: 2\n", "expect: 2\n    timeout: 3\n")
        + "  last: {notebook: learn.ipynb, needs: {data: learn}}\n"
    )
    runs = [run for run in runs_of(folder, f"learn.kind={kind}", "learn.rate=0.5")]
    outcomes = sweep(runs, say=lambda line: None)
    assert [outcome.status for outcome in outcomes] == [
        "done",
        "failed",
        "skipped",
    ] and says in outcomes[1].error
    home = Path(runs[1].folder)
    assert (
        not runs[1].done
        and (home / "notebook.failed.ipynb").is_file()
        and not (home / "notebook.ipynb").exists()
    )
    write_summary(
        load_plan(folder / "toy.yaml"), outcomes, folder / "report", params=folder / "toy.yaml"
    )
    assert says in build_report(folder / "report").read_text().replace("&#39;", "'")


def test_what_is_being_written_is_waited_for(folder):
    """A second sweep in a store says what it waits for, and takes what the first one made."""
    import fcntl

    run = runs_of(folder)[0]
    Path(run.folder).mkdir(parents=True)
    said = []
    lock = open(Path(run.folder) / "lock", "w")
    fcntl.flock(lock, fcntl.LOCK_EX)

    def release(text):
        said.append(text)
        if "another process is writing" in text:
            threading.Timer(1.0, lock.close).start()

    assert [outcome.status for outcome in sweep([run], say=release)] == ["done"] and sum(
        "is writing" in text for text in said
    ) == 1
    assert execute(run)[0] == "cached"


def test_two_sweeps_in_one_store(folder):
    """Both end well, and each run is made once."""
    command = [
        sys.executable,
        "-c",
        "from spar_kit.cli.main import main; main()",
        "sweep",
        "toy.yaml",
    ]
    both = [
        subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=180)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert (
        sum(text.count("  done  ") for text in said) == 3
        and sum(text.count("cached") for text in said) == 3
    )


def test_interrupted_and_started_again(folder):
    """SIGINT in the middle of a run: no kernel is left, nothing looks finished, and the same
    command goes on."""
    (folder / "toy.yaml").write_text(
        STEPS.replace("[0.1, 1e-2]", "[0.1]").replace(
            "needs: {data: make}", "needs: {data: make}\n    params: {kind: sleeps}"
        )
    )
    command = [
        sys.executable,
        "-c",
        "from spar_kit.cli.main import main; main()",
        "sweep",
        "toy.yaml",
    ]
    # a shell starts background jobs deaf to it
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heard,
    )
    for _ in range(600):
        if list(folder.glob("runs/learn-*/notebook.part.ipynb")):
            break
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (
        process.returncode == 130
        and "rerun the same command to resume" in errors
        and "Traceback" not in errors
    )
    assert list(folder.glob("runs/make-*/run.json")) and not list(
        folder.glob("runs/learn-*/run.json")
    )
    again = subprocess.run(
        [*command, "--set", "learn.kind=ok"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (
        again.returncode == 0
        and "make   cached" in again.stdout
        and again.stdout.splitlines()[-1] == os.path.join("reports", "toy", "index.html")
    )


def test_a_page_has_everything_and_fetches_nothing(tmp_path):
    figure = {
        "data": [{"type": "scatter", "y": [1, 2], "name": "</script><b>"}],
        "layout": {"title": {"text": "A <b>figure</b>"}, "template": {"data": {"bar": [1] * 999}}},
    }
    cells = [
        nbformat.v4.new_markdown_cell("# A page\n\n> Its summary."),
        nbformat.v4.new_code_cell("n: int = 1  # how many", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("n = 7", metadata={"tags": ["injected-parameters"]}),
        nbformat.v4.new_code_cell("import this_is_quiet"),
        nbformat.v4.new_code_cell(
            "#| fig-cap: The caption.\nplot()",
            outputs=[
                nbformat.v4.new_output("display_data", {"application/vnd.plotly.v1+json": figure})
            ],
        ),
        nbformat.v4.new_code_cell(
            "#| fig-alt: A red square.\nimage",
            outputs=[
                nbformat.v4.new_output(
                    "display_data", {"image/png": "aGVsbG8=", "text/plain": "<Image>"}
                )
            ],
        ),
        nbformat.v4.new_code_cell(
            "1/0",
            outputs=[
                nbformat.v4.new_output(
                    "error",
                    ename="E",
                    evalue="x",
                    traceback=["\x1b[31mZeroDivisionError\x1b[0m <x>"],
                )
            ],
        ),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "a.ipynb")
    page = render(tmp_path / "a.ipynb", tmp_path / "pages" / "a.html").read_text()
    assert (tmp_path / "pages" / "_assets" / "plotly.min.js").stat().st_size > 1e6
    assert (
        'lang="en"' in page
        and page.count("<h1") == 1
        and "<td><code>7</code></td><td>how many</td>" in page
    )
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', page, re.S)[1])
    assert data["data"][0]["name"] == "</script><b>" and "template" not in data["layout"]
    assert 'aria-label="A  b figure /b "' in page or 'aria-label="A  figure "' in page
    assert (
        "<figcaption>The caption.</figcaption>" in page
        and 'alt="A red square."' in page
        and "ZeroDivisionError" in page
        and "\x1b" not in page
    )
    assert (
        not re.search(r"""(src|href|action|data)\s*=\s*["']?\s*(https?:)?//""", page)
        and "@import" not in page
        and "url(http" not in page
    )
    assert all("alt=" in tag for tag in re.findall(r"<img[^>]*>", page))


def test_clock():
    assert [format_duration(s) for s in (0, 59.6, 75.2, 3675)] == [
        "0:00",
        "1:00",
        "1:15",
        "1:01:15",
    ]
