"""The command line: help for newcomers, exit code 2 and one line on bad input, torch only where it is needed."""
import json
import subprocess
import sys

import pytest

COMMANDS = ("generate", "verify", "audit", "gallery", "train", "evaluate", "score", "compare", "export", "sweep", "report", "doctor", "scenes")


def spar(*words, cwd=None):
    return subprocess.run([sys.executable, "-c", "from spar_kit.runs.cli import main; main()", *map(str, words)], capture_output=True, text=True, cwd=cwd, timeout=300)


def test_help_names_every_command():
    done = spar("--help")
    assert done.returncode == 0 and all(command in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command):
    done = spar(command, "--help")
    assert done.returncode == 0 and f"spar {command}" in done.stdout and len(done.stdout.split()) > 25


def test_help_imports_nothing_heavy():
    code = ("import sys\nfrom spar_kit.runs.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
            "print([name for name in ('torch', 'numpy', 'pandas', 'open3d', 'plotly', 'papermill', 'nbconvert', 'pydantic', 'orjson') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    loaded = done.stdout.splitlines()[-1]
    assert loaded in ("[]", "['numpy']"), loaded


BAD = [
    ["genrate"], ["generate"], ["generate", "synthetic"], ["generate", "synthetic", "--out", "d", "--scenes", "x"], ["generate", "synthetic", "--out", "d", "--scenes", "0"],
    ["generate", "moon:rock", "--out", "d"], ["generate", "scannet:nowhere", "--out", "d"], ["generate", "synthetic", "--out", "d", "--tasks", "depth_predicton_oc"],
    ["generate", "synthetic", "--out", "d", "--split", "test"], ["verify", "nowhere"], ["verify", "."], ["audit", "nowhere"], ["audit", "."],
    ["gallery", "nowhere", "--out", "d"], ["train", "nowhere.yaml"], ["train", "train.yaml"],
    ["evaluate", "m", "--data", "nowhere", "--out", "o"], ["score", "nowhere.jsonl"], ["score", "bad.jsonl"], ["score", "unknown.jsonl"], ["sweep", "nowhere.yaml"],
    ["sweep", "bad.yaml"], ["report", "."], ["report", "nowhere"], ["export", "nowhere", "--to", "x", "--out", "o"], ["export", "."], ["compare", "nowhere"],
    ["compare", "bad.jsonl", "unknown.jsonl"], ["evaluate", "nowhere", "--data", ".", "--out", "o"], ["doctor", "nowhere"], ["scenes", "list", "moon:rock"],
    ["scenes", "nowhere"],
]


def test_bad_input_is_tried_on_every_command():
    assert {words[0] for words in BAD} >= set(COMMANDS)


@pytest.mark.parametrize("words", BAD)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, words):
    (tmp_path / "bad.yaml").write_text("name: [\n")
    (tmp_path / "train.yaml").write_text("data: d\nout: o\nlearning_rat: 1\n")
    (tmp_path / "bad.jsonl").write_text('{"id": "a"\n')
    (tmp_path / "unknown.jsonl").write_text('{"id": "a", "task": "no_such_task", "answer": "1", "prediction": "1"}\n')
    done = spar(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("spar: ") and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr and len(done.stderr) < 400


def test_score_writes_items_and_totals(tmp_path):
    rows = [{"id": "r_0", "task": "depth_prediction_oc", "answer": "2.0", "prediction": "2.0"}, {"id": "r_1", "task": "position_matching", "answer": "B", "prediction": "A"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = spar("score", "a.jsonl", "--items", "i.jsonl", "--json", "s.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["score"] for line in (tmp_path / "i.jsonl").read_text().splitlines()] == [1.0, 0.0]
    assert json.loads((tmp_path / "s.json").read_text())["score"] == 0.5


def test_doctor_looks_at_everything():
    done = spar("doctor")
    assert done.returncode in (0, 1) and all(word in done.stdout for word in ("Python", "Open3D", "GPU", "torch", "disk"))
