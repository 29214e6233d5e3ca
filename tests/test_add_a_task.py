"""A thirty-sixth task from outside the kit: generated, derived again by the oracle, audited and
shown like SPAR's own; and the two specifications agree."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from spar_kit.oracle.evidence.record import TASK_SPECS
from spar_kit.oracle.verify import DERIVE, register
from spar_kit.tasks.registry import TASKS

EXAMPLE = Path(__file__).resolve().parent.parent / "docs/examples/object_height"


def test_the_oracles_specification_is_that_of_the_registry() -> None:
    """The oracle keeps its own list on purpose; where the two differ, one of them is wrong."""
    assert list(TASK_SPECS) == list(TASKS)
    assert set(DERIVE) == set(TASKS)
    for name, task in TASKS.items():
        form = TASK_SPECS[name]
        assert form.marks == task.markers, name
        assert form.formats == task.formats, name
        assert form.images == (0 if name == "nav_video" else task.images), name


def test_a_name_is_taken_once() -> None:
    with pytest.raises(ValueError, match="there is a task 'obj_count' already"):
        register("obj_count", TASK_SPECS["obj_count"], DERIVE["obj_count"])


def test_the_example_has_at_most_sixty_lines() -> None:
    files = [path for path in EXAMPLE.rglob("*") if path.suffix in (".py", ".yaml", ".toml")]
    assert len(files) == 3
    assert sum(bool(line.strip()) for path in files for line in path.read_text().splitlines()) <= 60


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example as `pip install` would leave it: the package, and the entry points
    of its pyproject.toml."""
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(
        EXAMPLE / "object_height",
        site / "object_height",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    info = site / "object_height-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    points = [
        f"[{group}]\n" + "".join(f"{name} = {place}\n" for name, place in names.items())
        for group, names in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(points))
    return site


def spar(site: Path, *words: object) -> tuple[int, str]:
    paths = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "spar_kit", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=500,
        cwd=site,
        env={**os.environ, "PYTHONPATH": paths.rstrip(os.pathsep), "COLUMNS": "200"},
    )
    return done.returncode, done.stdout + done.stderr


def test_a_thirty_sixth_task_is_like_the_others(installed: Path) -> None:
    data = installed / "data"
    returned, text = spar(
        installed,
        "generate",
        "synthetic",
        "--scenes",
        2,
        "--frames-per-scene",
        20,
        "--per-task",
        30,
        "--tasks",
        "object_height,spatial_volume_infer",
        "--workers",
        2,
        "--out",
        data,
    )
    assert returned == 0, text
    returned, text = spar(installed, "verify", data)
    assert returned == 0, text
    assert ", 0 mismatched, 0 not checkable" in text

    # a wrong answer is caught
    shard = next(data.glob("spar/*/qa_jsonl/*/object_height/fill/*.jsonl"))
    records = [json.loads(line) for line in shard.read_text().splitlines()]
    assert len(records) > 20
    records[3]["conversations"][1]["value"] = str(
        round(float(records[3]["conversations"][1]["value"]) + 0.2, 1)
    )
    shard.write_text("".join(json.dumps(record) + "\n" for record in records))
    returned, text = spar(installed, "verify", data)
    assert returned == 1
    assert ", 1 mismatched" in text and records[3]["id"] in text

    returned, text = spar(installed, "audit", data, "--out", installed / "audit")
    assert returned in (0, 1, 3), text  # two rooms are too few for a verdict
    assert "object_height/fill" in text
    returned, text = spar(
        installed,
        "gallery",
        "synthetic",
        "--tasks",
        "object_height",
        "--out",
        installed / "gallery",
    )
    assert returned == 0, text
