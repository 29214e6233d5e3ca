"""When a result is reused, when it is made again, and what a report says of it: with real kernels
on toy notebooks."""

import json
import os
import re
import shutil
import stat
from pathlib import Path

import nbformat
import pytest

from spar_kit.cli.main import main
from spar_kit.report.notebook_report import build_report, write_summary
from spar_kit.runs import sweep as sweep_module
from spar_kit.runs.plan import ParamsError, load_plan, read_yaml
from spar_kit.runs.sweep import expand_grid, run_status, sweep

COUNTS = "from pathlib import Path\nPath(out).mkdir(parents=True, exist_ok=True)\n"
MAKE = (
    COUNTS
    + """
if not Path(out, 'made.txt').exists():          # a study that finds its work done does nothing
    Path(out, 'made.txt').write_text(str(seed))
    with open('made.log', 'a') as log:
        log.write('x')
"""
)
LEARN = (
    COUNTS
    + """
if rate == fails: raise ValueError('too fast')
Path(out, 'row.json').write_text(__import__('json').dumps({'title': 'Learning', 'headline': f'It has {rate}.', 'compare': {'score': rate}, 'figures': [{'figure': {'data': []}}]}))
"""  # noqa: E501
)
ALL = (
    COUNTS
    + """
Path(out, 'row.json').write_text(__import__('json').dumps({'title': 'Comparison', 'headline': f'{len(runs)} runs.', 'figures': [{'figure': {'data': []}}]}))
"""  # noqa: E501
)
PLAN = """
name: toy
steps:
  make: {notebook: make.ipynb, params: {seed: 3}}
  learn: {notebook: learn.ipynb, needs: {data: make}, grid: {rate: [0.1, 0.2, 0.3]}}
  all: {notebook: all.ipynb, collects: {runs: learn}}
  after: {notebook: after.ipynb, needs: {data: all}}
"""


def notebook(path, parameters, *cells, prose="# A toy", **metadata):
    made = [
        nbformat.v4.new_markdown_cell(prose),
        nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        *(nbformat.v4.new_code_cell(cell) for cell in cells),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=made, metadata=metadata), path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    notebook(tmp_path / "make.ipynb", "seed: int = 0\nout: str = ''", MAKE)
    notebook(
        tmp_path / "learn.ipynb",
        "data: str = ''\nrate: float = 0.0\nfails: float = 0.0\nout: str = ''",
        LEARN,
    )
    notebook(tmp_path / "all.ipynb", "runs: list[str] = []\nout: str = ''", ALL)
    notebook(tmp_path / "after.ipynb", "data: str = ''\nout: str = ''", "print('after', data)")
    (tmp_path / "toy.yaml").write_text(PLAN)
    return tmp_path


def runs_of(*settings, steps=("make",)):
    return [
        run
        for run in expand_grid(load_plan("toy.yaml", settings), Path(), Path("runs"))
        if run.step in steps
    ]


def quiet(text):
    pass


def statuses(runs, **options):
    return [outcome.status for outcome in sweep(runs, say=options.pop("say", quiet), **options)]


def test_force_runs_again_from_nothing(folder):
    assert statuses(runs_of()) == ["done"] and (folder / "made.log").read_text() == "x"
    assert statuses(runs_of()) == ["cached"] and (folder / "made.log").read_text() == "x"
    assert statuses(runs_of(), force=True) == ["done"] and (folder / "made.log").read_text() == "xx"
    assert not list(folder.glob("runs/*/out.before")) and not list(folder.glob("runs/*/*.part*"))


@pytest.mark.parametrize(
    "damage",
    [
        "deleted",
        "a file less",
        "other content",
        "other content, same size and date",
        "shorter",
        "no list",
        "another list",
        "no notebook",
        "card",
    ],
)
def test_damaged_outputs_are_not_reused(folder, damage):
    run = runs_of()[0]
    assert statuses([run]) == ["done"]
    home = Path(run.folder)
    file = home / "out/made.txt"
    before = os.stat(home / "out/made.txt")
    if damage == "deleted":
        shutil.rmtree(home / "out")
    elif damage == "a file less":
        file.unlink()
    elif damage.startswith("other"):
        file.write_text("4")
        if "date" in damage:
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif damage == "shorter":
        file.write_text("")
    elif damage == "no list":
        (home / "outputs.json").unlink()
    elif damage == "another list":
        (home / "outputs.json").write_text(
            (home / "outputs.json").read_text().replace("out/made.txt", "out/mode.txt")
        )
    elif damage == "no notebook":
        (home / "notebook.ipynb").unlink()
    elif damage == "card":
        (home / "run.json").write_text("{")
    said = []
    assert not run_status(run)[0] and statuses([run], say=said.append) == ["done"]
    assert any("runs again: " in line and str(home) in line for line in said), said
    assert file.read_text() == "3" and (folder / "made.log").read_text() == "xx", (
        "from nothing, or it finds its work done"
    )
    assert statuses([run]) == ["cached"]


def test_the_same_content_is_reused_whatever_its_date_and_place(folder):
    run = runs_of()[0]
    assert statuses([run]) == ["done"]
    os.utime(Path(run.folder) / "out/made.txt")
    shutil.copytree("runs", "copy")
    shutil.rmtree("runs")
    os.rename("copy", "runs")
    assert statuses([run]) == ["cached"] and (folder / "made.log").read_text() == "x"


def test_what_was_stopped_goes_on(folder):
    """Without a finished run what lies in `out` is the beginning of it, not a result."""
    run = runs_of()[0]
    (Path(run.folder) / "out").mkdir(parents=True)
    (Path(run.folder) / "out/made.txt").write_text("3")
    assert statuses([run]) == ["done"] and not (folder / "made.log").exists()


def test_other_results_upstream_reach_what_builds_on_them(folder):
    steps = ("make", "learn")
    runs = runs_of("learn.rate=0.1", steps=steps)
    assert statuses(runs) == ["done", "done"]
    made = Path(runs[0].folder)
    shutil.rmtree(made / "out")
    assert statuses(runs) == ["done", "cached"], "made again, the same: nothing to do for the next"
    text = json.loads((made / "run.json").read_text())
    (made / "run.json").write_text(json.dumps({**text, "outputs": "0" * 64}))
    assert statuses(runs) == ["done", "cached"]
    (made / "out/made.txt").write_text("5")
    card = json.loads((Path(runs[1].folder) / "run.json").read_text())
    (Path(runs[1].folder) / "run.json").write_text(
        json.dumps({**card, "inputs": {runs[0].name: "f" * 64}})
    )
    assert statuses(runs) == ["done", "done"]


def test_prose_is_refreshed_without_running(folder):
    run = runs_of()[0]
    assert statuses([run]) == ["done"]
    notebook(
        folder / "make.ipynb",
        "seed: int = 0  # of it all\nout: str = ''",
        MAKE + "# nothing more",
        prose="# Another title\n\nMore words.",
    )
    again = runs_of()[0]
    assert (
        again.key == run.key
        and statuses([again]) == ["cached"]
        and (folder / "made.log").read_text() == "x"
    )
    shown = (Path(run.folder) / "notebook.ipynb").read_text()
    assert (
        "Another title" in shown
        and "# nothing more" in shown
        and "A toy" not in shown
        and "injected-parameters" in shown
    )
    assert statuses(runs_of()) == ["cached"]


def test_code_that_changes_while_a_sweep_runs(folder):
    """A run is not begun with other code than its key says; where code changes in the middle, the
    result is shown with a word and made again."""
    (folder / "mine.py").write_text("X = 1\n")
    notebook(
        folder / "make.ipynb",
        "seed: int = 0\nedit: bool = False\nout: str = ''",
        "import mine\nfrom pathlib import Path\nif edit: Path('mine.py').write_text('X = 2')",
        MAKE,
    )
    run = runs_of("make.edit=true")[0]
    (folder / "mine.py").write_text("X = 3\n")
    outcome = sweep([run], say=quiet)[0]
    assert (
        outcome.status == "failed"
        and "not what the sweep began with: mine; start it again" in outcome.error
    )
    (folder / "mine.py").write_text("X = 1\n")
    outcome = sweep([run], say=quiet)[0]
    assert (outcome.status, outcome.error) == ("done", "mine changed while it ran")
    (folder / "mine.py").write_text("X = 1\n")
    assert run_status(run) == (False, "mine changed while it ran")


def test_one_failed_point_leaves_the_comparison_of_the_others(folder, monkeypatch):
    # the line about what is running, as often as possible
    monkeypatch.setattr(sweep_module._Status, "EVERY", (0.0, 0.0))
    steps = ("make", "learn", "all", "after")
    outcomes = sweep(runs_of("learn.fails=0.2", steps=steps), say=quiet)
    assert [outcome.status for outcome in outcomes] == [
        "done",
        "done",
        "failed",
        "done",
        "done",
        "done",
    ]
    assert (
        outcomes[4].error == "without learn rate=0.2, which failed"
        and len(outcomes[4].run.params["runs"]) == 2
    )
    assert outcomes[5].run.params["data"] == str(Path(outcomes[4].run.folder) / "out"), (
        "what stands on it takes what there is"
    )
    write_summary(load_plan("toy.yaml"), outcomes, folder / "report", params=Path("toy.yaml"))
    index = build_report(folder / "report").read_text()
    assert (
        "Comparison (" in index
        and "without learn rate=0.2, which failed): 2 runs." in index
        and "too fast" in index
    )
    again = sweep(runs_of("learn.fails=0.2", steps=steps), say=quiet)
    assert [outcome.status for outcome in again] == [
        "cached",
        "cached",
        "failed",
        "cached",
        "cached",
        "cached",
    ]
    whole = sweep(runs_of(steps=steps), say=quiet)
    assert (
        [outcome.status for outcome in whole][3:] == ["done", "done", "done"]
        and len(whole[4].run.params["runs"]) == 3
        and whole[4].error == ""
    )


def test_where_all_failed_nothing_is_compared_and_the_headline_says_of_which(folder):
    outcomes = sweep(
        runs_of("learn.rate=0.2", "learn.fails=0.2", steps=("make", "learn", "all", "after")),
        say=quiet,
    )
    assert [outcome.status for outcome in outcomes] == ["done", "failed", "skipped", "skipped"]
    outcomes = sweep(runs_of(steps=("make", "learn")), say=quiet)
    write_summary(load_plan("toy.yaml"), outcomes, folder / "report", params=Path("toy.yaml"))
    assert "Learning (rate=0.3): It has 0.3." in build_report(folder / "report").read_text()


def spar(*arguments):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return left.value.code


def test_the_report_says_what_was_typed(folder, capsys):
    assert (
        spar(
            "sweep",
            "toy.yaml",
            "--set",
            "make.seed=7",
            "--set",
            "learn.rate=0.1",
            "--name",
            "other",
        )
        == 0
    )
    page = Path(capsys.readouterr().out.splitlines()[-1])
    text = page.read_text()
    assert (
        "<code>spar sweep toy.yaml --set make.seed=7 --set learn.rate=0.1 --name other</code>"
        in text
    )
    assert (
        "What was installed" in text
        and "numpy" in text
        and page == Path("reports/other/index.html")
    )
    command = re.search(r"<code>spar (sweep [^<]*)</code>", text)[1].split()
    assert spar(*command) == 0 and capsys.readouterr().out.count("cached") == 4


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--reports", "a_file"], "--reports a_file/toy"),
        (["--store", "a_file"], "--store a_file"),
        (["--reports", "locked/reports"], "--reports locked/reports/toy: cannot be written to"),
        (["--store", "/dev/null/x"], "--store /dev/null/x"),
        (["--reports", "/proc/nowhere"], "--reports /proc/nowhere/toy: cannot be written to"),
        (["--set", "make.seed=x"], "integer"),
        (["--set", "make.seed={a: &a [*a]}"], "make.seed"),
    ],
)
def test_mistakes_are_found_before_the_work(folder, capsys, given, says):
    (folder / "a_file").write_text("")
    (folder / "locked").mkdir()
    (folder / "locked").chmod(stat.S_IRUSR | stat.S_IXUSR)
    if "locked" in str(given) and os.access(folder / "locked", os.W_OK):
        pytest.skip("root writes everywhere")
    assert spar("sweep", "toy.yaml", *given) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1 and not (folder / "made.log").exists()


def test_a_study_names_a_misspelt_task_before_the_work(tmp_path):
    root = Path(__file__).parents[1]
    for setting, says in (
        ("evaluate.tasks=depth_prediction_c", "did you mean 'depth_prediction_oc'"),
        ("generate.tasks=all,", "unknown task 'all'"),
        ("train.tasks=x", "unknown task"),
        ("evaluate.formats=fill,juge", "did you mean 'judge'"),
        ("generate.source=scannet:nowhere", "nowhere"),
    ):
        with pytest.raises(ParamsError, match=says) as refused:
            load_plan(root / "params/studies/demo.yaml", [setting])
        assert setting.partition("=")[0].replace(".", ".params.") in str(refused.value)


CELLS = {
    "line magic": "%precision 3",
    "shell": "!echo hi",
    "assigned shell": "files = !ls\nprint(files[0])",
    "assigned magic": "here = %pwd",
    "help": "len?",
    "help of a method": "str.join??",
    "indented": "if True:\n    !echo hi\n    %pwd",
    "bash": "%%bash\nfor x in a b; do echo $x; done",
    "html": "%%html\n<b>bold</b>",
    "time": "%%time\nimport json\nprint(1)",
    "capture": "%%capture said\nprint(1)",
    "comment before": "\n\n%%bash\necho hi",
    "await": "import asyncio\nawait asyncio.sleep(0)",
    "percent in text": "x = '%s' % 3\ny = 7 %2",
    "question in text": "x = 'why?'  # why?",
    "unicode": "größe = 3",
    "a magic's name in text": '"""\n%pwd\n!ls\n"""',
    "continued": "x = (1 +\n     2)",
    "empty": "",
    "only a comment": "# nothing",
}


def test_what_runs_in_jupyter_runs_here(folder):
    notebook(folder / "make.ipynb", "seed: int = 0\nout: str = ''", *CELLS.values())
    outcomes = sweep(runs_of(), say=quiet)
    assert outcomes[0].status == "done", outcomes[0].error


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("y = (1,", "cell 3, line 1: is not Python"),
        ("x = 1\nif x:\nprint()", "cell 3, line 3"),
        ("print 1", "cell 3"),
        ("x = $y", "cell 3"),
        ("x = '\0'", "cell 3"),
    ],
)
def test_a_cell_that_is_no_python_is_named_before_the_work(folder, capsys, source, says):
    notebook(folder / "after.ipynb", "data: str = ''\nout: str = ''", source)
    assert spar("sweep", "toy.yaml") == 2
    error = capsys.readouterr().err
    assert (
        says in error
        and "after.ipynb" in error
        and error.count("\n") == 1
        and not (folder / "made.log").exists()
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda book: book["metadata"].update(
                kernelspec={"name": "ir", "language": "R", "display_name": "R"}
            ),
            "is written in R",
        ),
        (lambda book: book.pop("cells"), "not a notebook"),
        (lambda book: book.update(cells={}), "not a notebook"),
        (lambda book: book["cells"].append(3), "not a notebook"),
        (lambda book: book["cells"][1].update(source=7), "not a notebook"),
        (
            lambda book: book["cells"][1].update(source="seed: int = (\nout: str = ''"),
            "cell 2, line 1",
        ),
        (
            lambda book: book["cells"][1].update(source="%pwd\nout: str = ''"),
            "line 1 of the parameters cell",
        ),
    ],
)
def test_an_odd_notebook_is_refused_in_one_line(folder, capsys, change, says):
    book = json.loads((folder / "make.ipynb").read_text())
    change(book)
    (folder / "make.ipynb").write_text(json.dumps(book))
    assert spar("sweep", "toy.yaml") == 2
    error = capsys.readouterr().err
    assert says in error and "make.ipynb" in error and error.count("\n") == 1


def test_bare_notebooks_and_names_with_dots_and_braces_run(folder):
    """No kernel, no language, no ids, no outputs, as a script writes them; saved by Windows; a
    tagged cell that may fail; a path with braces."""
    cells = [
        {
            "cell_type": "code",
            "source": "n: int = 1\nout: str = ''",
            "metadata": {"tags": ["parameters"]},
        },
        {
            "cell_type": "code",
            "source": ["print(n)\n", "1 / 0"],
            "metadata": {"tags": ["raises-exception"]},
        },
        {"cell_type": "code", "source": "never(", "metadata": {"tags": ["raises-exception"]}},
        {"cell_type": "code", "source": "1 / 0", "metadata": {"tags": ["skip-execution"]}},
        {"cell_type": "markdown", "source": "end"},
    ]
    (folder / "bare {x}.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8-sig")
    (folder / "toy.yaml").write_bytes(
        "name: toy\r\nsteps:\r\n  a.b-c: {notebook: 'bare {x}.ipynb', grid: {n: [1, 2]}}\r\n  d.e:"
        " {notebook: all.ipynb, collects: {runs: a.b-c}}\r\n".encode("utf-16")
    )
    runs = expand_grid(load_plan("toy.yaml", ["a.b-c.n=5"]), Path(), Path("runs {y}"))
    outcomes = sweep(runs, say=quiet)
    assert [outcome.status for outcome in outcomes] == ["done", "done"], [
        outcome.error for outcome in outcomes
    ]
    assert runs[0].label == "" and runs[0].params["n"] == 5
    labels = [run.label for run in expand_grid(load_plan("toy.yaml"), Path(), Path("runs"))]
    assert labels == ["n=1", "n=2", ""]


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi")
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB, "more than 20,000 values"),
        ("? !!binary aGk=\n: 1\n", "not plain data (binary)"),
        ("x: !!binary aGk=\n", "not plain data (binary)"),
        ("x: !!set {a, b}\n", "not plain data (set)"),
        ("? [a, b]\n: 1\n", "a key is a word"),
        ("? {a: b}\n: 1\n", "a key is a word"),
        ("x: 1\nx: 2\n", "x: is given twice"),
        ("x: {y: {z: 1, z: 2}}\n", "x.y.z: is given twice"),
        ("1: a\n'1': b\n", "given twice"),
        ("x: &a [*a]\n", "nested more than"),
        ("x: &a {y: *a}\n", "nested more than"),
        ("[" * 5000, "nested more than"),
        ("x: " + "{a: " * 300 + "1" + "}" * 300, "nested more than"),
        ("x: !!python/name:os.system\n", "not plain data"),
        ("x: !own 1\n", "not plain data"),
        ("x: !!int abc\n", "x: "),
        ("x: " + "9" * 5000, "x: "),
        ("x" * (1 << 20), "too many"),
        ("x: 1\n---\ny: 2\n", "not YAML"),
        ("\tx: 1\n", "not YAML"),
        ("x: *nothing\n", "not YAML"),
        ("x: 2020-01-01 00:00:00\n", None),
        ("%YAML 9.9\n---\nx: 1\n", "not YAML"),
        ("x: \x07\n", "not YAML"),
    ],
)
def test_yaml_is_bounded_and_plain(tmp_path, text, says):
    (tmp_path / "a.yaml").write_text(text)
    if says is None:
        assert read_yaml(tmp_path / "a.yaml")[0] == {"x": "2020-01-01 00:00:00"}
        return
    with pytest.raises(ParamsError) as refused:
        read_yaml(tmp_path / "a.yaml")
    assert (
        says in str(refused.value)
        and "\n" not in str(refused.value)
        and "a.yaml" in str(refused.value)
        and len(str(refused.value)) < 600
    )


def test_a_pipe_in_place_of_a_plan_does_not_hang(tmp_path, capsys):
    os.mkfifo(tmp_path / "a.yaml")
    for command in (["sweep", str(tmp_path / "a.yaml")], ["train", str(tmp_path / "a.yaml")]):
        assert spar(*command) == 2 and "not a file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "word",
    [
        "input_price=" + "&a [*a]",
        "body=!!python/name:os.system",
        "body=" + "{a: " * 200 + "1" + "}" * 200,
        "per_minute=[" + "[" * 3000,
    ],
)
def test_settings_of_a_server_are_read_by_the_same_reader(word):
    from spar_kit.bench.models.client import server_from

    with pytest.raises(ValueError) as refused:
        server_from("m", "http://127.0.0.1:9", [word])
    assert "\n" not in str(refused.value)
    assert server_from("m", "http://127.0.0.1:9", ["input_price=1e-3"]).input_price == 0.001
