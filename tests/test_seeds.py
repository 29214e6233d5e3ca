"""The demo's measured figures: made from the plan that `make study` runs, on the questions that the
generator asks today, and said so in the README."""

import copy
from pathlib import Path

import pytest

from spar_kit.bench.analysis.seeds import (
    claimed_tasks,
    collect_seeds,
    data_hash,
    is_measured_on,
    measured_seeds,
    question_keys,
    seeds_text,
    shared_keys,
)
from spar_kit.data.generate import generate
from spar_kit.runs.plan import load_plan
from spar_kit.scenes.sources import open_source

ROOT = Path(__file__).parents[1]
MEASURED = measured_seeds()


@pytest.fixture(scope="module")
def two_rooms(tmp_path_factory):
    """The first training room and the first held-out room of the demo, asked with today's code."""
    folder = tmp_path_factory.mktemp("rooms")
    for split, told in MEASURED["data"]["parameters"].items():
        made = {
            key: value
            for key, value in told["source_parameters"].items()
            if key not in ("kind", "scenes", "seed", "fov")
        }
        source = open_source("synthetic", scenes=1, seed=told["source_parameters"]["seed"], **made)
        generate(
            source,
            folder,
            split=split,
            tasks=",".join(MEASURED["data"]["tasks"]),
            per_task=told["per_task"],
            seed=told["seed"],
            frames_per_scene=told["frames_per_scene"],
        )
    return folder


def test_the_figures_were_measured_on_the_questions_of_today(two_rooms):
    assert is_measured_on(two_rooms, MEASURED), (
        "the generator asks other questions now: `make seeds` measures the demo anew"
    )


def test_changed_questions_are_noticed(two_rooms, tmp_path):
    data = MEASURED["data"]
    shard = next((two_rooms / "spar").rglob("val/*/fill/*.jsonl"))
    before = shard.read_text()
    scene = next(iter(data["keys"]["val"]))
    keys = data["keys"]["val"][scene]
    try:
        shard.write_text(before.replace("How ", "How very "))
        now = question_keys(two_rooms, "val", scene, data["tasks"], data["formats"])
        assert shared_keys(keys, now) < 1 and len(now) == len(
            question_keys(two_rooms, "val", scene, data["tasks"], data["formats"])
        )
    finally:
        shard.write_text(before)
    assert not is_measured_on(tmp_path, MEASURED), "an empty folder"


def test_readme_carries_the_measured_figures_and_their_data_hash():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert seeds_text(MEASURED) in readme
    assert f"data hash `{MEASURED['data']['hash']}`" in readme
    for task in claimed_tasks(MEASURED["runs"]):
        assert all(run["gains"][task][1] > 0 for run in MEASURED["runs"])


def test_five_seeds_were_measured_and_the_readme_says_on_how_many_threads():
    runs = MEASURED["runs"]
    assert len({run["seed"] for run in runs}) >= 5 and len(
        {(run["seed"], run["threads"]) for run in runs}
    ) == len(runs)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for threads in {run["threads"] for run in runs}:
        seeds = sorted(run["seed"] for run in runs if run["threads"] == threads)
        assert f"{', '.join(map(str, seeds))} on {threads} thread" in readme


def test_the_seeds_are_trained_as_the_demo_is():
    demo, seeds = (
        load_plan(ROOT / "params/studies" / name) for name in ("demo.yaml", "demo_seeds.yaml")
    )
    assert (
        demo.steps["generate"] == seeds.steps["generate"]
        and demo.steps["evaluate"] == seeds.steps["evaluate"]
    )
    varied = set(seeds.steps["train"].grid)
    assert varied == {"seed", "threads"}
    assert {
        key: value for key, value in demo.steps["train"].params.items() if key not in varied
    } == seeds.steps["train"].params


def test_runs_on_other_questions_are_not_mixed(two_rooms, tmp_path):
    import json

    run = {
        "seed": 0,
        "threads": 1,
        "before": 1.0,
        "after": 2.0,
        "blind": 1.0,
        "questions": 3,
        "gains": {"depth_prediction_oc": [1, 0, 2]},
        "data": data_hash(two_rooms),
    }
    for name, told in (("a", run), ("b", {**run, "data": "0" * 12})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "row.json").write_text(
            json.dumps({"figures_of_run": copy.deepcopy(told)})
        )
    kept = collect_seeds([tmp_path / "a"], two_rooms, {}, {"val": ["val0000"]})
    assert kept["data"]["hash"] == data_hash(two_rooms) and is_measured_on(two_rooms, kept)
    with pytest.raises(ValueError, match="b: measured on other questions"):
        collect_seeds([tmp_path / "a", tmp_path / "b"], two_rooms, {}, {"val": ["val0000"]})
