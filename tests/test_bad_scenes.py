"""Scenes that are odd or broken: served with true answers, or refused with a counted reason."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from toys import Toys, floor_and_wall, walk_round

from spar_kit.data.generate import generate
from spar_kit.data.manifest import Manifest
from spar_kit.data.records import read_records
from spar_kit.oracle.verify import Report, verify
from spar_kit.scenes.box_room import BoxObject, box_room_scene, solid, toy_surface
from spar_kit.scenes.geometry.rasterizer import render_depth_and_ids
from spar_kit.scenes.labels import normalize_label, unambiguous_labels
from spar_kit.scenes.scene import (
    Camera,
    Frame,
    Instance,
    Mesh,
    OrientedBox,
    Scene,
    SceneError,
    look_at,
)
from spar_kit.tasks.validation import frame_problem, validate_scene

LABELS = "chair chair table lamp cabinet sofa desk stool stool box plant shelf bed basket".split()
BREAK = '<script>alert("1")</script>\n& "quoted" \'label\''


def solids_of(labels: list[str]) -> list[BoxObject]:
    """A floor, a wall and boxes that do not touch, one for each label; ids from 3."""
    draws = np.random.default_rng(5)
    made = floor_and_wall()
    while len(made) < len(labels) + 2:
        size = np.exp(draws.uniform(np.log(0.3), np.log(0.8), 3))
        center = np.array(
            [
                draws.uniform(0.8, 5.2),
                draws.uniform(0.8, 4.2),
                size[2] / 2 + draws.choice([0, 0, 0.6]),
            ]
        )
        if all(np.abs(center - s.box.center).max() > 0.7 for s in made[2:]):
            rgb = tuple(draws.integers(60, 250, 3).tolist())
            made.append(
                solid(
                    len(made) + 1,
                    labels[len(made) - 2],
                    tuple(center),
                    size=tuple(size),
                    yaw_degrees=draws.uniform(0, 180),
                    rgb=rgb,
                )
            )
    return made


def measure(surface: Mesh, camera: Camera, pose: np.ndarray) -> np.ndarray:
    return render_depth_and_ids(surface, camera, pose)[0]


def room(name: str, labels: list[str] = LABELS, frames: int = 36) -> Scene:
    """A room of 6 m x 5 m in which every task finds something, seen by a camera that walks round
    it."""
    solids = solids_of(labels)
    camera = Camera.from_fov(160, 120, 75)
    surface = toy_surface(solids)
    made = [
        Frame(
            i,
            pose,
            camera,
            camera,
            partial(np.zeros, (120, 160, 3), np.uint8),
            partial(measure, surface, camera, pose),
        )
        for i, pose in enumerate(walk_round(frames))
    ]
    instances = tuple(Instance(s.id, s.label, OrientedBox.fit(s.box.corners)) for s in solids)
    return Scene(
        name=name,
        source="synthetic",
        frames=tuple(made),
        instances=instances,
        surface=toy_surface(solids),
        room_type="room",
        floor=(np.array([[0.0, 0], [6, 0], [6, 5], [0, 5]]),),
    )


def with_instance(scene: Scene, id: int, **change: object) -> Scene:
    """The same scene with another label, or another center, size or yaw of a box."""

    def changed(i: Instance) -> Instance:
        return (
            replace(i, label=str(change["label"]))
            if "label" in change
            else replace(i, box=replace(i.box, **change))
        )  # type: ignore[arg-type]

    return replace(scene, instances=tuple(changed(i) if i.id == id else i for i in scene.instances))


def with_frame(scene: Scene, row: int, **change: object) -> Scene:
    return scene.with_frames(
        [replace(f, **change) if k == row else f for k, f in enumerate(scene.frames)]
    )  # type: ignore[arg-type]


def nan_everywhere(name: str) -> Scene:
    scene = room(name)
    broken = scene.frames[4].color.intrinsics * np.nan
    scene = with_frame(scene, 3, camera_to_world=np.full((4, 4), np.nan))
    scene = with_frame(scene, 4, color=replace(scene.frames[4].color, intrinsics=broken))
    scene = with_frame(scene, 5, depth=replace(scene.frames[5].depth, intrinsics=np.zeros((3, 3))))
    scene = with_frame(scene, 6, camera_to_world=np.diag([1.0, 1, -1, 1]))
    scene = with_instance(scene, 3, center=np.array([np.nan, 1, 1]))
    scene = with_instance(scene, 5, size=np.array([np.inf, 1, 1]))
    scene = with_instance(scene, 6, yaw=np.nan)
    scene.surface.vertices[24 * 8 : 24 * 8 + 7] = np.nan
    return scene


def inside_an_object(name: str) -> Scene:
    """One camera stands in the middle of the cabinet, one with its lens behind a chair's face."""
    scene = room(name)
    cabinet, chair = (
        next(i for i in scene.instances if i.label == label).box for label in ("cabinet", "chair")
    )
    for row, eye in (
        (7, cabinet.center),
        (8, chair.center + chair.axes[:, 0] * (chair.size[0] / 2 - 0.01)),
    ):
        pose = look_at(eye, np.array([3.0, 2.5, 1.0]))
        # too near for a sensor
        scene = with_frame(
            scene, row, camera_to_world=pose, read_depth=partial(np.zeros, (120, 160), np.float32)
        )
    return scene


def huge_objects(name: str) -> Scene:
    scene = room(name)
    # a chair longer than the room
    scene = with_instance(scene, 3, size=np.array([9.5, 1, 1]))
    # a table higher than the room
    scene = with_instance(scene, 5, size=np.array([1.0, 1, 4]))
    return with_instance(scene, 7, size=np.array([40.0, 40, 40]))


def flat_objects(name: str) -> Scene:
    scene = room(name)
    for id, size in ((3, (0, 0, 0)), (5, (0.5, 0.5, 0)), (6, (0.5, -0.5, 0.5))):
        scene = with_instance(scene, id, size=np.array(size, float))
    return scene


def refined(name: str) -> Scene:
    """The same room with a million triangles: each one cut into as many as it takes."""
    scene = room(name)
    cuts = int(np.ceil(np.sqrt(1e6 / len(scene.surface.triangles))))
    u, v = (a.ravel() for a in np.meshgrid(np.arange(cuts + 1), np.arange(cuts + 1), indexing="ij"))
    u, v = u[u + v <= cuts], v[u + v <= cuts]
    at = np.full((cuts + 2, cuts + 2), -1)
    at[u, v] = np.arange(len(u))
    up = np.stack([at[u, v], at[u + 1, v], at[u, v + 1]], 1)[u + v < cuts]
    down = np.stack([at[u + 1, v], at[u + 1, v + 1], at[u, v + 1]], 1)[u + v < cuts - 1]
    small = np.concatenate([up, down])
    a, b, c = (scene.surface.vertices[scene.surface.triangles[:, k]][:, None] for k in range(3))
    vertices = a + (b - a) * (u / cuts)[:, None] + (c - a) * (v / cuts)[:, None]
    triangles = (small[None] + len(u) * np.arange(len(vertices))[:, None, None]).reshape(-1, 3)
    assert len(triangles) >= 1_000_000
    return replace(
        scene,
        surface=Mesh(
            vertices.reshape(-1, 3).astype(np.float32),
            triangles.astype(np.int32),
            np.repeat(scene.surface.triangle_instance, len(small)).astype(np.int32),
        ),
    )


ODD = {
    "no_frame": lambda name: replace(room(name), frames=()),
    "no_good_frame": (
        lambda name: room(name).with_frames(
            [replace(f, camera_to_world=np.full((4, 4), -np.inf)) for f in box_room_scene().frames]
        )
    ),
    "one_frame": lambda name: room(name, frames=1),
    "no_object": lambda name: replace(room(name), instances=()),
    "one_object": lambda name: room(name, ["chair"]),
    "one_label": lambda name: room(name, ["chair"] * 14),
    "huge": huge_objects,
    "flat": flat_objects,
    "inside": inside_an_object,
    "nan": nan_everywhere,
    "million": refined,
    "frames_5000": lambda name: room(name, frames=5000),
    "labels": lambda name: room(
        name,
        [
            BREAK,
            "椅子",
            "стол",
            "كرسي",
            "a\tb\r\nc",
            "{red} {0} %s",
            "\\n",
            "chair (red point)",
            "naïve",
            "lamp?",
            "A. table",
            "Frame-3",
            "object0",
            "\u202edesk",
        ],
    ),
    # ours, too
    "words": lambda name: room(
        name,
        "camera picture photo image frame view centimeter observer meter point box light scale"
        " poster".split(),
    ),
    "same_name": lambda name: room(
        name,
        [
            "chair",
            "chair\u200b",
            "Chair ",
            "table",
            normalize("NFC", "café table"),
            normalize("NFD", "café table"),
            "lamp",
            "sofa",
            "\u200b",
            " ",
            "x" * 5000,
            "bed",
            "stool",
            "wall",
        ],
    ),
    "no_mesh": lambda name: replace(
        room(name),
        surface=Mesh(
            np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32), np.zeros(0, np.int32)
        ),
    ),
    "twins": lambda name: replace(room(name), instances=(room(name).instances[2],) * 2),
    "twin_frames": lambda name: with_frame(room(name), 3, index=4),
    "large_ids": lambda name: replace(
        room(name), instances=tuple(replace(i, id=70000 + i.id) for i in room(name).instances)
    ),
}


def sound_or_odd(name: str) -> Scene:
    make: Callable[[str], Scene] = ODD.get(name, room)
    return make(name)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("odd") / "data"
    return folder, generate(
        Toys(("sound", *ODD), sound_or_odd),
        folder,
        per_task=5,
        width=160,
        progress=False,
        frames_per_scene=64,
    )


@pytest.fixture(scope="module")
def verdict(made: tuple[Path, Manifest]) -> Report:
    return verify(made[0], workers=1)


def test_every_row_is_true(verdict: Report) -> None:
    wrong = [str(m) for task in verdict.tasks.values() for m in task.mismatches]
    assert verdict.ok and verdict.checked > 2000, wrong[:20]


def test_what_cannot_be_used_is_refused_with_a_reason(made: tuple[Path, Manifest]) -> None:
    failed = made[1].failed
    assert {name: why for name, why in failed.items()} == {
        "no_frame": "SceneError: no usable frame",
        "no_good_frame": "SceneError: no usable frame; frame: pose is not finite: 6",
        "twins": "SceneError: the instance id 3 occurs twice",
        "twin_frames": "SceneError: the frame index 4 occurs twice",
        "large_ids": failed["large_ids"],
    } and "16 bit" in failed["large_ids"]


def test_what_can_be_used_is_served(made: tuple[Path, Manifest]) -> None:
    scenes = made[1].content["scenes"]
    sound = scenes["sound"]["records"]
    assert sound > 200 and all(
        scenes[name]["records"] > 0.5 * sound
        for name in ("huge", "flat", "inside", "nan", "million", "frames_5000", "labels", "words")
    )
    assert (
        scenes["one_label"]["records"] > 0
        and scenes["frames_5000"]["frames_found"] == 5000
        and scenes["frames_5000"]["frames_seen"] == 64
    )
    assert (
        scenes["no_object"]["records"] == scenes["one_object"]["records"]
        or scenes["one_object"]["records"] > 0
    )
    assert scenes["nan"]["frames_seen"] == 32


def test_faults_are_counted(made: tuple[Path, Manifest]) -> None:
    scenes = made[1].content["scenes"]
    skipped = {
        name: {
            why: n
            for why, n in entry["skipped"].items()
            if not why.startswith("expected: object: no frame shows")
        }
        for name, entry in scenes.items()
    }
    assert skipped["nan"] == {
        "frame: intrinsics are not those of a camera": 2,
        "frame: pose is not finite": 1,
        "frame: pose is not rigid": 1,
        "object: box is not finite": 3,
        "surface: vertex is not finite": 7,
    }
    assert skipped["huge"] == {"object: a side above 10.0 m": 1, "object: larger than the room": 2}
    assert skipped["flat"] == {"object: a side below 0.02 m": 2, "object: a side is negative": 1}
    assert skipped["same_name"] == {"object: label is no name": 3}
    assert made[1].content["skipped"]["frame: pose is not finite"] == 1


def test_broken_objects_are_in_no_question(made: tuple[Path, Manifest]) -> None:
    forbidden = {
        "nan": {3, 5, 6},
        "labels": {10, 14, 15},
        "huge": {3, 5, 7},
        "flat": {3, 5, 6},
        "same_name": {11, 12, 13, 16},
    }
    for record, _ in read_records(made[0]):
        scene = record["image"][0].split("/")[0]
        assert not forbidden.get(scene, set()) & set(record["facts"]["objects"]), record
        assert "nan" not in record["conversations"][1]["value"].lower().split()


def test_names_stay_on_their_line_and_apart(made: tuple[Path, Manifest]) -> None:
    counted = set()
    for record, _ in read_records(made[0]):
        scene = record["image"][0].split("/")[0]
        text = record["conversations"][0]["value"]
        if scene == "labels":
            assert (
                all(c.isprintable() or c == "\n" for c in text)
                and "\n& " not in text
                and "\u202e" not in text
            )
        if scene == "same_name" and record["type"] == "obj_count":
            counted |= {name for name in ("chair", "café table") if name in text.lower()}
            assert record["facts"]["answer"] == (
                3 if "chair" in text.lower() else 2 if "café table" in text.lower() else 1
            )
        if scene == "same_name" and record["type"].endswith("_hard"):
            # a name alone does not say which
            assert "chair" not in text.lower() and "café" not in text.lower()
    assert counted
    assert normalize_label("Cafe\u0301 \u200bTABLE") == "caf\xe9 table" and unambiguous_labels(
        ["a", "b c"]
    ) == {"a", "b c"}


def test_frames_are_judged_one_by_one() -> None:
    frame = room("x", ["chair"], 1).frames[0]
    camera = frame.color
    assert frame_problem(frame) == ""
    for bad in (np.full((4, 4), -np.inf), np.eye(3), np.zeros((4, 4)), np.diag([2.0, 1, 1, 1])):
        assert frame_problem(replace(frame, camera_to_world=bad)).startswith("frame: pose")
    for K in (np.full((3, 3), np.nan), np.zeros((3, 3)), np.diag([-100.0, 100, 1]), np.eye(4)):
        assert "intrinsics" in frame_problem(replace(frame, color=replace(camera, intrinsics=K)))
    assert "intrinsics" in frame_problem(replace(frame, depth=replace(camera, width=0)))
    with pytest.raises(SceneError, match="instance id 3"):
        validate_scene(ODD["twins"]("x"))
