"""The command line: help for newcomers, exit code 2 and one line on bad input, torch only where it
is needed."""

import json
import subprocess
import sys

import pytest

COMMANDS = (
    "generate",
    "verify",
    "audit",
    "gallery",
    "train",
    "evaluate",
    "score",
    "compare",
    "export",
    "sweep",
    "report",
    "doctor",
    "scenes",
)


def spar(*words, cwd=None):
    return subprocess.run(
        [sys.executable, "-c", "from spar_kit.cli.main import main; main()", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=300,
    )


def test_help_names_every_command():
    done = spar("--help")
    assert done.returncode == 0 and all(command in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command):
    done = spar(command, "--help")
    assert (
        done.returncode == 0 and f"spar {command}" in done.stdout and len(done.stdout.split()) > 25
    )


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom spar_kit.cli.main import main\ntry: main(['--help'])\nexcept SystemExit:"
        " pass\nprint([name for name in ('torch', 'numpy', 'pandas', 'open3d', 'plotly',"
        " 'papermill', 'nbconvert', 'pydantic', 'orjson') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    loaded = done.stdout.splitlines()[-1]
    assert loaded in ("[]", "['numpy']"), loaded


BAD = [
    ["genrate"],
    ["generate"],
    ["generate", "synthetic"],
    ["generate", "synthetic", "--out", "d", "--scenes", "x"],
    ["generate", "synthetic", "--out", "d", "--scenes", "0"],
    ["generate", "moon:rock", "--out", "d"],
    ["generate", "scannet:nowhere", "--out", "d"],
    ["generate", "synthetic", "--out", "d", "--tasks", "depth_predicton_oc"],
    ["generate", "synthetic", "--out", "d", "--split", "test"],
    ["verify", "nowhere"],
    ["verify", "."],
    ["audit", "nowhere"],
    ["audit", "."],
    ["gallery", "nowhere", "--out", "d"],
    ["train", "nowhere.yaml"],
    ["train", "train.yaml"],
    ["evaluate", "m", "--data", "nowhere", "--out", "o"],
    ["score", "nowhere.jsonl"],
    ["score", "bad.jsonl"],
    ["score", "unknown.jsonl"],
    ["sweep", "nowhere.yaml"],
    ["sweep", "bad.yaml"],
    ["report", "."],
    ["report", "nowhere"],
    ["export", "nowhere", "--to", "x", "--out", "o"],
    ["export", "."],
    ["compare", "nowhere"],
    ["compare", "bad.jsonl", "unknown.jsonl"],
    ["evaluate", "nowhere", "--data", ".", "--out", "o"],
    ["doctor", "nowhere"],
    ["scenes", "list", "moon:rock"],
    ["scenes", "nowhere"],
]


def test_bad_input_is_tried_on_every_command():
    assert {words[0] for words in BAD} >= set(COMMANDS)


@pytest.mark.parametrize("words", BAD)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, words):
    (tmp_path / "bad.yaml").write_text("name: [\n")
    (tmp_path / "train.yaml").write_text("data: d\nout: o\nlearning_rat: 1\n")
    (tmp_path / "bad.jsonl").write_text('{"id": "a"\n')
    (tmp_path / "unknown.jsonl").write_text(
        '{"id": "a", "task": "no_such_task", "answer": "1", "prediction": "1"}\n'
    )
    done = spar(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert (
        done.stderr.startswith("spar: ")
        and done.stderr.count("\n") == 1
        and "Traceback" not in done.stderr
        and len(done.stderr) < 400
    )


def test_score_writes_items_and_totals(tmp_path):
    rows = [
        {"id": "r_0", "task": "depth_prediction_oc", "answer": "2.0", "prediction": "2.0"},
        {"id": "r_1", "task": "position_matching", "answer": "B", "prediction": "A"},
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = spar("score", "a.jsonl", "--items", "i.jsonl", "--json", "s.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [
        json.loads(line)["score"] for line in (tmp_path / "i.jsonl").read_text().splitlines()
    ] == [1.0, 0.0]
    assert json.loads((tmp_path / "s.json").read_text())["score"] == 0.5


def test_doctor_looks_at_everything():
    done = spar("doctor")
    assert done.returncode in (0, 1) and all(
        word in done.stdout for word in ("Python", "Open3D", "GPU", "torch", "disk")
    )


# ---- what a newcomer may type and give, each in this process
def record(**changes):
    return {
        "id": "r_0",
        "conversations": [
            {"from": "human", "value": "How deep is the lamp (red point)?"},
            {"from": "gpt", "value": "1.5"},
        ],
        "image": ["r/image_color/0.jpg"],
        "type": "depth_prediction_oc",
        "facts": {"objects": [1], "frames": [0]},
        "red_point": [[500, 500]],
        **changes,
    }


ODD = {
    "no-object": [1],
    "conversations": record(conversations=[]),
    "turns": record(conversations=[{"from": "human", "value": 5}, {"from": "gpt", "value": None}]),
    "image": record(image=5),
    "no-image": record(image=[]),
    "outside": record(image=["../../etc/passwd"]),
    "type": record(type=7),
    "id": record(id=None),
    "point": record(red_point=[["a", "b"]]),
    "box": record(red_bbox="x"),
    "index": record(point_img_idx=[["z"]]),
}
FACTS = {
    "facts-list": [1],
    "facts-text": "x",
    "facts-none": None,
    "objects": {"objects": 5, "frames": [0]},
    "objects-text": {"objects": ["a"], "frames": [0]},
    "frames": {"objects": [1], "frames": None},
    "unknown-object": {"objects": [99], "frames": [0], "view": [0]},
    "view": {"objects": [1], "frames": [0], "view": "x"},
}


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A folder of everything that is not what a command wants."""
    import pickle

    home = tmp_path_factory.mktemp("odd")
    for name, content in {
        "empty.txt": b"",
        "bytes.jsonl": bytes(range(256)) * 9,
        "bytes.yaml": bytes(range(256)) * 9,
        "text.yaml": b"hello\n",
        "list.yaml": b"- a\n",
        "empty.yaml": b"",
        "types.yaml": b"data: 5\nout: o\n",
        "model.yaml": b"data: data\nout: o\nmodel: mdir\n",
        "plan.yaml": b"name: p\nsteps: 5\n",
        "x.parquet": b"PAR1junk",
        "number.py": b"x = 5\n",
        "wrong.py": b"def (:\n",
        "raises.py": b"raise RuntimeError('a\\nb')\n",
        "good.jsonl": (
            b'{"id":"a","task":"depth_prediction_oc","format":"fill","answer":"1.5","prediction":"1.5"}\n'
        ),
        "model.pkl": pickle.dumps({"a": 1}),
    }.items():
        (home / name).write_bytes(content)
    for name in ("nothing", "mdir", "mdir2", "mdir3"):
        (home / name).mkdir()
    (home / "mdir/config.json").write_text('{"model_type": "smolvlm"}')
    (home / "mdir/pytorch_model.bin").write_bytes(pickle.dumps({"a": 1}))
    (home / "mdir2/config.json").write_text("{nope")
    (home / "mdir3/config.json").write_text("[]")
    rooms = {
        "instances": [{"id": 1, "label": "lamp", "center": [0, 0, 0], "size": [1, 1, 1], "yaw": 0}]
    }
    for name, row in {
        "data": record(),
        **ODD,
        **{key: record(facts=facts) for key, facts in FACTS.items()},
    }.items():
        path = home / name / "spar/x/qa_jsonl/val/depth_prediction_oc/fill/fill_1.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(row) + "\n")
        (home / name / "manifest.json").write_text("{}")
        images = home / name / "spar/x/images/r"
        images.mkdir(parents=True)
        (images / "instances.json").write_text(json.dumps(rooms))
    return home


HUGE = "9" * 23
TYPED = [
    *(
        ["generate", "synthetic", "--out", "d", *more]
        for more in (
            ["--seed", HUGE],
            ["--seed", "-1"],
            ["--scenes", HUGE],
            ["--per-task", HUGE],
            ["--workers", "0"],
            ["--frames-per-scene", "-1"],
            ["--stride", "0"],
            ["--novelty-metres", "nan"],
            ["--novelty-degrees", "inf"],
            ["--blur", "2"],
            ["--candidates", "0"],
            ["--images", "x"],
            ["--labels", "x"],
            ["--leakage", "x"],
            ["--cache", "empty.txt", "--scenes", "1"],
            ["--tasks", ""],
            ["--tasks", ","],
        )
    ),
    *(
        ["generate", "synthetic", "--scenes", "1", "--out", out]
        for out in ("empty.txt", "/dev/null/x", "a" * 300, "")
    ),
    *(
        ["generate", source, "--out", "d"]
        for source in (
            "",
            "scannet:",
            "scannet:empty.txt",
            "scannet:nothing",
            "structured3d:empty.txt",
            "arkitscenes:nothing",
            "spar7m:nothing",
            "python:nowhere.py:f",
            "python:number.py:x",
            "python:wrong.py:f",
            "python:raises.py:f",
            "python:nothing:f",
        )
    ),
    ["verify", "empty.txt"],
    ["verify", "nothing"],
    ["verify", "data", "--sample", "0"],
    ["verify", "data", "--source", "moon"],
    ["verify", ""],
    *(
        ["audit", data]
        for data in (
            "empty.txt",
            "nothing",
            "bytes.jsonl",
            "x.parquet",
            "parquet:nowhere",
            "",
            *ODD,
        )
    ),
    ["audit", "data", "--items", HUGE],
    ["audit", "data", "--tasks", "moon"],
    ["audit", "data", "--split", "x"],
    *(
        ["gallery", data, "--out", "g", "--tasks", "depth_prediction_oc"]
        for data in (*ODD, *FACTS, "nothing", "empty.txt")
    ),
    ["gallery", "synthetic", "--out", "empty.txt"],
    ["gallery", "synthetic", "--out", "/dev/null/x"],
    ["gallery", "synthetic", "--out", "g", "--seed", HUGE],
    ["gallery", "data", "--out", "g", "--tasks", "room_size"],
    *(
        ["train", file]
        for file in (
            "empty.yaml",
            "bytes.yaml",
            "text.yaml",
            "list.yaml",
            "types.yaml",
            "nothing",
            "",
        )
    ),
    *(
        ["evaluate", model, "--data", "data", "--out", "o"]
        for model in (
            "model.pkl",
            "mdir",
            "mdir2",
            "mdir3",
            "nothing",
            "empty.txt",
            "nowhere/model",
            "",
        )
    ),
    *(
        ["evaluate", "m", "--data", "data", "--out", "o", *more]
        for more in (
            ["--limit", "0"],
            ["--batch", "-1"],
            ["--images", "x"],
            ["--prompt", "x"],
            ["--seed", HUGE],
            ["--seed", "-1"],
            ["--set", "x=1"],
            ["--dry-run"],
            ["--api", "not a url"],
            ["--api", "ftp://x"],
            ["--api", "http://"],
            ["--api", "http://h:99999"],
            ["--api", "http://127.0.0.1:9", "--set", "x"],
        )
    ),
    ["evaluate", "m", "--benchmark", "moon", "--out", "o"],
    ["evaluate", "m", "--out", "o"],
    *(
        ["score", file]
        for file in ("empty.txt", "nothing", "bytes.jsonl", "model.pkl", "x.parquet", "")
    ),
    ["score", "good.jsonl", "--items", "nothing"],
    ["score", "good.jsonl", "--json", "/dev/null/x"],
    *(
        ["compare", "good.jsonl", "--out", out, *more]
        for out, more in (
            ("x.txt", []),
            ("nothing", []),
            ("/dev/null/c.html", []),
            ("c.html", ["--seed", HUGE]),
            ("c.html", ["--misses", "0"]),
            ("c.html", ["--benchmark", "moon"]),
        )
    ),
    ["export", "data", "--to", "x", "--out", "o"],
    ["export", "data", "--to", "vlmeval", "--out", "/dev/null/x"],
    ["export", "nothing", "--to", "vlmeval", "--out", "o"],
    ["export", "data", "--to", "vlmeval", "--out", "o", "--limit", "0"],
    *(
        ["sweep", file]
        for file in ("empty.yaml", "bytes.yaml", "text.yaml", "plan.yaml", "nothing")
    ),
    ["sweep", "plan.yaml", "--workers", "0"],
    ["report", "nothing"],
    ["report", "empty.txt"],
    ["doctor", "x"],
    ["scenes", "list"],
    ["scenes", "list", "synthetic", "--scenes", HUGE],
    ["scenes", "list", "python:raises.py:f"],
    ["scenes", "show", "synthetic", "x", "--out", "s.html"],
    ["--foo"],
]


@pytest.mark.parametrize("words", TYPED, ids=lambda words: " ".join(word[:24] for word in words))
def test_whatever_is_typed_one_line_says_what_is_wrong(odd, monkeypatch, capsys, words):
    from spar_kit.cli.main import main

    monkeypatch.chdir(odd)
    before = {path.name for path in odd.iterdir()}
    with pytest.raises(SystemExit) as left:
        main(words)
    said = capsys.readouterr().err
    assert (
        left.value.code == 2
        and said.startswith("spar: ")
        and said.count("\n") == 1
        and "[Errno" not in said
        and len(said) < 900
    ), said
    if words[0] in ("audit", "gallery") and words[1] in (*ODD, *FACTS):
        assert (
            f"{words[1]}/spar/x/qa_jsonl/val/depth_prediction_oc/fill/fill_1.jsonl: line 1: "
            in said
        ), "the file and the line are named"
    # Python keeps what it has compiled of a source's file beside it
    assert {path.name for path in odd.iterdir()} - before <= {"g", "o", "__pycache__"}, (
        "a mistake is said before anything is written"
    )


@pytest.mark.parametrize("words", [[], ["scenes"]])
def test_alone_it_prints_its_help(capsys, words):
    from spar_kit.cli.main import main

    with pytest.raises(SystemExit) as left:
        main(words)
    shown = capsys.readouterr()
    assert left.value.code == 0 and "Usage: spar" in shown.out and shown.err == ""


def test_version_and_python_m():
    from spar_kit import __version__

    done = subprocess.run(
        [sys.executable, "-m", "spar_kit", "--version"], capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"spar_kit {__version__}\n", "")


def test_what_is_wrong_with_a_path_is_the_typists_what_is_wrong_with_a_disk_is_not(
    monkeypatch, capsys
):
    import errno

    from spar_kit.cli import main as cli

    for code, number in (
        (2, errno.EACCES),
        (2, errno.EROFS),
        (2, errno.ENAMETOOLONG),
        (1, errno.ENOSPC),
        (1, errno.EIO),
    ):

        def fails(*_, number=number, **__):
            raise OSError(number, "so it is", "some/file")

        monkeypatch.setattr(cli, "app", fails)
        with pytest.raises(SystemExit) as left:
            cli.main(["doctor"])
        assert left.value.code == code and capsys.readouterr().err == "spar: some/file: so it is\n"


# ---- a mistake of ours is told from a mistake of theirs
@pytest.mark.parametrize(
    "error",
    [
        ValueError("operands could not be broadcast together"),
        KeyError("answer"),
        NotImplementedError("not yet"),
        RuntimeError("dictionary changed size"),
        ModuleNotFoundError(
            "No module named 'spar_kit.scenes.sceen'", name="spar_kit.scenes.sceen"
        ),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_bug_shows_its_traceback_and_how_to_report_it(monkeypatch, capsys, error):
    from spar_kit import __version__
    from spar_kit.cli.main import main

    def fails():
        raise error

    monkeypatch.setattr("spar_kit.cli.doctor.run_checks", fails)
    with pytest.raises(SystemExit) as left:
        main(["doctor"])
    said = capsys.readouterr().err.splitlines()
    assert left.value.code == 1, left.value.code
    assert said[0].startswith("Traceback") and any(
        line.strip() == "raise error" for line in said
    ), said
    assert type(error).__name__ in said[-2], said[-2]
    assert (
        said[-1].startswith("spar: this is a bug of spar_kit")
        and f"spar_kit {__version__}" in said[-1]
        and said[-1].endswith("command: spar doctor")
    ), said[-1]
    assert "http" not in said[-1], "no address that leads nowhere"


def test_every_error_of_ours_has_the_one_base():
    import ast
    import importlib
    from pathlib import Path

    import spar_kit
    from spar_kit.core.errors import KitError

    # of the command line: shown to nobody, they say within a module what is to be done next
    inner = {"RetryableError", "RequestRejected", "Stopped"}
    found = set()
    for path in Path(spar_kit.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.ClassDef)
                and any(ast.unparse(base).endswith(("Error", "Exception")) for base in node.bases)
                and node.name not in inner
            ):
                module = ".".join(
                    path.relative_to(Path(spar_kit.__file__).parent.parent).with_suffix("").parts
                )
                # the oracle shares nothing with the rest
                if not module.startswith("spar_kit.oracle."):
                    found.add(node.name)
                    assert issubclass(
                        getattr(importlib.import_module(module), node.name), KitError
                    ), f"{module}.{node.name}"
    assert found >= {
        "SceneError",
        "ImageError",
        "ParamsError",
        "RecordError",
        "WriteError",
        "ServerError",
        "RowError",
        "BenchmarkError",
    }, found


def test_errors_cross_processes():
    import pickle

    from spar_kit.bench.benchmarks import BenchmarkError
    from spar_kit.core.errors import missing_extra
    from spar_kit.core.yaml_file import ParamsError
    from spar_kit.data.records import RecordError
    from spar_kit.data.writer import WriteError
    from spar_kit.scenes.formats.images import ImageError
    from spar_kit.scenes.scene import SceneError

    for error in (
        SceneError("bad", "a.ply", "line 3"),
        ImageError("bad", "a.png"),
        ParamsError("bad", "a.yaml", 3, "seed"),
        RecordError("bad", "a.jsonl", 3, "id"),
        BenchmarkError("bad", "a", 3, "id"),
        WriteError(28, "no space", "out"),
        missing_extra("a cluster needs Dask", "cluster"),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error) and str(again) == str(error), (error, again)
