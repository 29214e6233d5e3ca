"""Held-out scenes, near-duplicates and caps: what may not be asked, or not so often."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from toys import Toys

from spar_kit.data.generate import generate
from spar_kit.data.leakage import HELD_OUT_LISTS, find_lists, held_out_scenes, read_list, space_id
from spar_kit.data.manifest import read_manifest
from spar_kit.data.records import read_records
from spar_kit.scenes.box_room import box_room_scene
from spar_kit.scenes.procedural.source import Synthetic
from spar_kit.scenes.scene import Scene, SceneError, look_at
from spar_kit.scenes.visibility import compute_visibility
from spar_kit.tasks.frame_sets import group_similar_frames, rotations_between
from spar_kit.tasks.registry import TASKS, compute_facts, rng_for
from spar_kit.tasks.scene_index import index_scene
from spar_kit.tasks.thresholds import Thresholds

NAMES = ("scene0000_00", "scene0011_00", "scene0011_01", "scene0015_00")


def scan(name: str) -> Scene:
    return replace(box_room_scene(frames=6, width=64, name=name), source="scannet")


@dataclass(frozen=True)
class Scans(Toys):
    """Toy rooms under ScanNet's names, with a folder in which its lists may lie."""

    names: tuple[str, ...] = NAMES
    make: Callable[[str], Scene] = scan
    name: str = "scannet"
    root: Path = Path()


def make(root: Path, **options):
    return generate(
        Scans(root=root),
        root / "out",
        **{
            "tasks": "depth_prediction_oc,obj_spatial_relation_oo",
            "per_task": 3,
            "width": 64,
            "progress": False,
            **options,
        },
    )


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    (tmp_path / "scans").mkdir()
    (tmp_path / "scannetv2_val.txt").write_text("scene0011_00\nscene0568_00\n")
    (tmp_path / "scans" / "splits").mkdir()
    (tmp_path / "scans" / "splits" / "scannetv2_test.txt").write_text(
        "# held out\n\nscene0707_00\n"
    )
    return tmp_path / "scans"


def test_lists_are_found_beside_the_scans_and_rooms_count_whole(scans):
    lists = find_lists(Scans(root=scans))
    assert [path.name for path in lists] == ["scannetv2_val.txt", "scannetv2_test.txt"] and set(
        HELD_OUT_LISTS
    ) == {"scannet", "scannetpp"}
    assert held_out_scenes("scannet", NAMES, lists) == {
        "scene0011_00": "scannetv2_val.txt",
        "scene0011_01": "scannetv2_val.txt",
    }
    assert space_id("scene0011_01") == "scene0011" and space_id("0a5c013435") == "0a5c013435"
    assert (
        find_lists(Synthetic()) == []
        and held_out_scenes("synthetic", ["train0000", "scene_03000"]) == {}
    )
    assert list(
        held_out_scenes(
            "structured3d", [f"scene_0{n}" for n in (2999, 3000, 3249, 3250, 3499, 3500)]
        )
    ) == [f"scene_0{n}" for n in (3000, 3249, 3250, 3499)]


def test_training_on_benchmark_scenes_is_refused(scans):
    with pytest.raises(
        ValueError,
        match=(
            "2 of 4 training scenes are held out for benchmarks, scene0011_00 by"
            " scannetv2_val.txt.*drop.*allow"
        ),
    ):
        make(scans)
    assert not (scans / "out").exists()
    # that is what they are for
    assert make(scans, split="val").records > 0


def test_held_out_scenes_are_dropped_or_allowed_and_counted(scans):
    manifest = make(scans, leakage="drop")
    held = read_manifest(scans / "out").content["parameters"]["held_out"]
    assert set(manifest.content["scenes"]) == {"scene0000_00", "scene0015_00"} and set(
        manifest.held_out
    ) == {"scene0011_00", "scene0011_01"}
    assert (
        held["lists"] == ["scannetv2_val.txt", "scannetv2_test.txt"]
        and held["used"] == {}
        and "2 scenes held out" in str(manifest)
    )
    assert make(scans, leakage="drop").reused
    with pytest.raises(ValueError, match="held_out"):
        make(scans, leakage="allow")
    allowed = make(scans, leakage="allow", overwrite=True)
    assert len(allowed.content["scenes"]) == 4 and set(
        allowed.content["parameters"]["held_out"]["used"]
    ) == {"scene0011_00", "scene0011_01"}
    with pytest.raises(ValueError, match="leakage is refuse, drop or allow"):
        make(scans, leakage="ignore")


def test_scenes_are_excluded_by_name(scans, tmp_path):
    mine = tmp_path / "mine.txt"
    mine.write_text("scene0011_00\nscene0011_01 # the same room\nscene9999_00\n")
    manifest = make(scans, exclude=mine)
    assert (
        manifest.held_out
        == {"scene0011_00": "excluded by name", "scene0011_01": "excluded by name"}
        and len(manifest.content["scenes"]) == 2
    )
    mine.write_text("\n".join(NAMES))
    with pytest.raises(SceneError, match="all 4 scenes of the split train are left out"):
        make(scans, exclude=mine, overwrite=True)
    mine.write_text("scene0011_00\ntwo names\n")
    with pytest.raises(ValueError, match="mine.txt: line 2: expected one scene name"):
        read_list(mine)
    for bad in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(ValueError, match="cannot be read as a list"):
            read_list(bad)
    mine.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="cannot be read as a list"):
        read_list(mine)


# --- near-duplicates and caps
# -------------------------------------------------------------------------------------------------------  # noqa: E501


def test_frames_that_show_nearly_the_same_are_one_view():
    eye = np.array([0, 0, 1.5])
    poses = np.stack(
        [
            look_at(eye + [dx, 0, 0], eye + [np.cos(a) + dx, np.sin(a), 0])
            for dx, a in (
                (0, 0),
                (0.19, 0),
                (0.21, 0),
                (0, np.radians(9)),
                (0, np.radians(11)),
                (0, np.pi),
                (0.05, 0.05),
            )
        ]
    )
    assert group_similar_frames(poses, Thresholds()).tolist() == [0, 0, 1, 0, 2, 3, 0]
    assert (
        group_similar_frames(poses, Thresholds(baseline=0, rotation=0)).tolist() == list(range(7))
        and len(group_similar_frames(poses[:0], Thresholds())) == 0
    )


@pytest.fixture(scope="module")
def observed():
    scene = Synthetic(frames=40, width=320, height=240).load("train0001")
    return scene, compute_visibility(scene, width=160)


def asked_twice(observation, facts) -> int:
    """How many questions are about the same objects, in the same roles and in nearly the same view,
    as an earlier one, by comparing each with each."""
    asked = [
        (objects, observation.view[frames[0]], sorted(observation.view[frames]))
        for objects, frames in zip(facts.objects.tolist(), facts.frames)
    ]
    return sum(question in asked[:i] for i, question in enumerate(asked))


SEVERAL = [
    "depth_prediction_oc",
    "distance_prediction_oo",
    "spatial_volume_infer",
    "obj_spatial_relation_oo",
    "depth_prediction_oo_mv",
    "spatial_imagination_oc_mv",
]


def test_nothing_is_asked_twice_in_nearly_the_same_view(observed):
    scene, table = observed
    plain = index_scene(scene, table)
    strict, loose = (
        index_scene(
            scene,
            table,
            Thresholds(baseline=1.5, rotation=80, per_view=n, step_share=1, state_share=1),
        )
        for n in (1, 100)
    )
    poses = plain.poses
    view = plain.view
    teeth = 0
    assert all(
        np.linalg.norm(poses[a, :3, 3] - poses[b, :3, 3]) < 2 * 0.2
        and rotations_between(poses[[a, b]])[0, 1] < 2 * 10
        for a in range(len(poses))
        for b in range(a)
        if view[a] == view[b]
    )
    for task in SEVERAL:
        facts = compute_facts(task, plain, rng_for(0, task), 100)
        assert len(facts) > 20 and asked_twice(plain, facts) == 0
        assert asked_twice(strict, compute_facts(task, strict, rng_for(0, task), 400)) == 0
        teeth += (
            asked_twice(loose, compute_facts(task, loose, rng_for(0, task), 400))
            if TASKS[task].views == "single"
            else 0
        )
    # without the rule, there are such questions
    assert teeth > 50


def test_quotas_hold_for_every_scene_and_counts_are_exact(tmp_path):
    source = Synthetic(count=2, frames=34, width=320, height=240)
    manifest = generate(source, tmp_path / "data", per_task=7, width=160, progress=False)
    counts = Counter()
    scenes = Counter()
    images = Counter()
    for record, _ in read_records(tmp_path / "data"):
        task = record["facts"]["task"]
        form = record["facts"]["format"]
        scene = record["image"][0].split("/")[0]
        counts[task, form] += 1
        scenes[scene, task, form] += 1
        images[scene, task, form, tuple(sorted(record["image"]))] += len(record["image"]) < 20
    assert max(scenes.values()) == 7 and max(images.values()) <= Thresholds().per_frames
    assert counts == {
        (task, form): n for task, forms in manifest.counts.items() for form, n in forms.items() if n
    }
    assert (
        sum(counts.values())
        == manifest.records
        == sum(scene["records"] for scene in manifest.content["scenes"].values())
    )
    assert all(entry["frames_seen"] == 34 for entry in manifest.content["scenes"].values())
    few = generate(
        source,
        tmp_path / "few",
        per_task=7,
        width=160,
        progress=False,
        frames_per_scene=5,
        tasks="depth_prediction_oc,obj_count",
    )
    assert all(
        entry["frames_found"] == 34 and entry["frames_seen"] == 5
        for entry in few.content["scenes"].values()
    )
    # a video has 32 frames
    assert few.counts["obj_count"] == {"fill": 0, "sentence": 0}
