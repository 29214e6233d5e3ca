"""Which objects a scan has whole: cut meshes, cut annotations, things that no frame shows whole,
and what is not asked of them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from toys import Toys, busy_room

from spar_kit.data.generate import generate
from spar_kit.data.scene_job import GenerationConfig, build_records
from spar_kit.oracle.evidence.scene_files import InstanceImage, ObjectBox, Pose, SceneFolder
from spar_kit.oracle.verify import verify
from spar_kit.oracle.visibility import completeness as verify_whole
from spar_kit.oracle.visibility.completeness import end_of_sight, why_partial
from spar_kit.scenes.completeness import (
    CUT_OFF,
    NOT_SHOWN,
    WHOLE,
    best_frames,
    incomplete,
    scan_ends,
)
from spar_kit.scenes.labels import STRUCTURE_LABELS
from spar_kit.scenes.procedural.source import Synthetic
from spar_kit.scenes.scene import Camera, Instance, Mesh, OrientedBox, Scene, invert_pose, look_at
from spar_kit.scenes.visibility import compute_visibility
from spar_kit.tasks.families.video import chains
from spar_kit.tasks.registry import TASKS, compute_facts, rng_for
from spar_kit.tasks.scene_index import index_scene
from spar_kit.tasks.thresholds import Thresholds

MEASURED = [
    name for name in TASKS if name.startswith(("depth", "distance", "spatial", "obj_spatial"))
]


def finer(surface: Mesh, times: int = 3) -> Mesh:
    """The same surface in triangles of half the size, so many times."""
    for _ in range(times):
        t = surface.triangles
        v = surface.vertices
        middle = [(v[t[:, k]] + v[t[:, (k + 1) % 3]]) / 2 for k in range(3)]
        new = [len(v) + k * len(t) + np.arange(len(t)) for k in range(3)]
        parts = [
            (t[:, 0], new[0], new[2]),
            (new[0], t[:, 1], new[1]),
            (new[2], new[1], t[:, 2]),
            (new[0], new[1], new[2]),
        ]
        surface = Mesh(
            np.concatenate([v, *middle]),
            np.concatenate([np.stack(p, 1) for p in parts]).astype(np.int32),
            np.tile(surface.triangle_instance, 4),
        )
    return surface


def cut(
    scene: Scene, id: int, keeps: Callable[[NDArray], NDArray], annotation: bool = False
) -> Scene:
    """The scene without that part of an object, whose box is fitted anew: out of the mesh, or only
    out of the annotation. `keeps` is told the middles of triangles in the box's own axes, as shares
    of its half sides."""
    surface = finer(scene.surface)
    box = scene.instance(id).box
    middle = (surface.vertices[surface.triangles].mean(1) - box.center) @ box.axes / (box.size / 2)
    gone = (surface.triangle_instance == id) & ~keeps(middle)
    owner = np.where(gone, 0, surface.triangle_instance)
    left = OrientedBox.fit(surface.vertices[np.unique(surface.triangles[owner == id])])
    if annotation:
        surface = Mesh(surface.vertices, surface.triangles, owner)
    else:
        surface = Mesh(surface.vertices, surface.triangles[~gone], owner[~gone])
    return replace(
        scene,
        surface=surface,
        instances=tuple(replace(i, box=left) if i.id == id else i for i in scene.instances),
    )


@pytest.fixture(scope="module")
def room() -> Scene:
    return busy_room("room0000_00")


def things_of(scene: Scene) -> list[int]:
    return [i.id for i in scene.instances if i.label not in STRUCTURE_LABELS]


@pytest.mark.parametrize("annotation", [False, True])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_cut_object_is_found_and_no_other(room: Scene, axis: int, annotation: bool) -> None:
    best = best_frames(room, compute_visibility(room))
    for id in [id for id in things_of(room) if best[id].share > 0.95][:3]:
        scan = cut(room, id, lambda middle: middle[:, axis] < 0.2, annotation)
        assert set(scan_ends(scan, things_of(scan))) == {id}


def test_whole_rooms_lose_only_what_no_frame_shows_whole(room: Scene) -> None:
    for scene in (room, Synthetic(frames=40).load("train0001")):
        table = compute_visibility(scene)
        missing = incomplete(scene, best_frames(scene, table), things_of(scene))
        assert set(missing.values()) <= {NOT_SHOWN} and len(missing) < 0.2 * len(things_of(scene))
        assert all(best_frames(scene, table)[id].share < WHOLE for id in missing)


def test_nothing_is_measured_of_a_cut_object(room: Scene) -> None:
    id = next(
        id
        for id, best in best_frames(room, compute_visibility(room)).items()
        if best.share > 0.95 and id in things_of(room)
    )
    scan = cut(room, id, lambda middle: middle[:, 0] < 0.2)
    observation = index_scene(scan, compute_visibility(scan))
    assert (
        not observation.whole[observation.ids == id].any() and observation.incomplete[CUT_OFF] == 1
    )
    asked = {
        name: compute_facts(name, observation, rng_for(1, "room", name), 60) for name in MEASURED
    }
    assert all(
        len(facts)
        for name, facts in asked.items()
        if "video" not in name or name.endswith("_video")
    )
    for name, facts in asked.items():
        assert id not in facts.objects, name
    located = compute_facts("obj_frame_locate", observation, rng_for(1, "room"), 60)
    # where it is to be seen is known
    assert id in located.objects
    before = index_scene(room, compute_visibility(room))
    assert id in compute_facts("spatial_volume_infer", before, rng_for(1, "room"), 200).objects


def test_the_manifest_counts_them(room: Scene) -> None:
    id = next(
        id
        for id, best in best_frames(room, compute_visibility(room)).items()
        if best.share > 0.95 and id in things_of(room)
    )
    head, *_ = build_records(
        GenerationConfig(source=Synthetic(), split="train", tasks=("spatial_volume_infer",)),
        cut(room, id, lambda middle: middle[:, 0] < 0.2),
    )
    assert head["incomplete"][CUT_OFF] == 1 and head["objects_whole"] == head["objects"] - sum(
        head["incomplete"].values()
    )


def test_the_frames_that_prove_a_question_are_written(tmp_path: Path) -> None:
    """One question shows one frame; that its object is whole, another frame may have to show."""
    scene = busy_room("room0000_00")
    best = best_frames(scene, compute_visibility(scene))
    generate(
        Toys((scene.name,), busy_room),
        tmp_path / "data",
        tasks="depth_prediction_oo",
        per_task=4,
        progress=False,
    )
    folder = tmp_path / "data/spar/synthetic"
    records = [
        json.loads(line)
        for path in folder.glob("qa_jsonl/*/*/*/*.jsonl")
        for line in path.read_text().splitlines()
    ]
    asked = {id for record in records for id in record["facts"]["objects"] if id > 0}
    written = {int(path.stem) for path in (folder / "images" / scene.name / "pose").iterdir()}
    shown = {frame for record in records for frame in record["facts"]["frames"]}
    proof = {scene.frames[best[id].frame].index for id in asked}
    assert written == shown | proof
    assert proof - shown
    assert len(written) < len(scene.frames)
    assert verify(tmp_path / "data").ok


def test_the_oracle_refuses_what_no_frame_shows_whole(tmp_path: Path) -> None:
    """As questions were before: asked without the rule, judged by it."""
    generate(
        Toys(("room0000_00",), busy_room),
        tmp_path / "data",
        tasks="spatial_volume_infer",
        rules=Thresholds(whole=0.0),
        progress=False,
    )
    assert verify(tmp_path / "data").ok
    manifest = json.loads((tmp_path / "data/manifest.json").read_text())
    manifest["parameters"]["rules"]["whole"] = 0.8
    (tmp_path / "data/manifest.json").write_text(json.dumps(manifest))
    folder = SceneFolder(tmp_path / "data/spar/synthetic/images", "room0000_00")
    best = best_frames(busy_room("room0000_00"), compute_visibility(busy_room("room0000_00")))
    refused = {id for id, thing in folder.things.items() if why_partial(folder, thing, 0.8)}
    assert all(best[id].share < 0.8 for id in refused if id in best)
    found = [m.reason for m in verify(tmp_path / "data").tasks["spatial_volume_infer"].mismatches]
    assert all("not there whole" in reason for reason in found)
    # and an object of which all pictures lose the upper half
    thing = next(
        t
        for t in folder.things.values()
        if t.id in best and best[t.id].share > 0.95 and t.label not in STRUCTURE_LABELS
    )
    tall = replace(
        thing,
        center=(*thing.center[:2], thing.center[2] + thing.size[2] * 2),
        size=(*thing.size[:2], thing.size[2] * 5),
    )
    assert "no frame shows more than" in why_partial(
        SceneFolder(folder.images, folder.scene), tall, 0.8
    )


def test_the_oracle_refuses_what_ends_where_the_pictures_end() -> None:
    """A camera that looks straight on, at a board that fills its picture to the upper border, and
    at one that ends within."""
    pose = look_at(np.array([0.0, -3, 1]), np.array([0.0, 0, 1]))
    camera = Camera.from_fov(160, 120, 60)
    # where the picture's upper border meets the board's plane
    top = 1 + 3 * 60 / float(camera.intrinsics[1, 1])
    for height, cut_off in ((top - 0.02, True), (top - 0.4, False)):
        board = ObjectBox(
            id=7,
            label="board",
            center=(0.0, 0.01, height / 2 + 0.3),
            size=(1.0, 0.02, height - 0.6),
            yaw=0.0,
        )
        ids = np.zeros((120, 160), int)
        corners = np.array([[x, 0, z] for x in (-0.5, 0.5) for z in (0.6, height)])
        at = camera.project(corners @ invert_pose(pose)[:3, :3].T + invert_pose(pose)[:3, 3])[0]
        (x1, y1), (x2, y2) = (
            np.floor(np.clip(at, 0, None)).min(0).astype(int),
            np.ceil(at).max(0).astype(int),
        )
        ids[y1 : y2 + 1, x1 : x2 + 1] = 7
        assert bool(end_of_sight(OneFrame(ids, pose, camera), board)) is cut_off


class OneFrame(SceneFolder):
    """A folder with one frame, in memory."""

    def __init__(self, ids: NDArray, pose: NDArray, camera: Camera):
        x, y, z = (tuple(pose[:3, k].tolist()) for k in range(3))
        K = camera.intrinsics
        self.sight = lambda image: InstanceImage.of(ids)
        self.pose = lambda path: Pose(tuple(pose[:3, 3].tolist()), x, y, z)
        self.intrinsics = lambda path: (K[0, 0], K[1, 1], K[0, 2], K[1, 2])
        self.image_size = lambda image: (camera.width, camera.height)
        self.images = Path(".")
        self.scene = "one"
        self.notes = {}


@pytest.fixture(autouse=True)
def _one_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    real = verify_whole.frames_on_disk
    monkeypatch.setattr(
        verify_whole,
        "frames_on_disk",
        lambda folder: [("a", "b", "c")] * 3 if isinstance(folder, OneFrame) else real(folder),
    )


# ------------------------------------------------------------------------------------------------------------------  # noqa: E501
# what vanishes says why


def test_a_flat_rug_spoils_no_frame_and_is_still_in_the_way(room: Scene) -> None:
    """A rug without height under the camera is nearer than all else; far away it is no rival; a
    broken box spoils the frames that show it."""
    flat = Instance(90, "rug", OrientedBox(np.array([3, 2.5, 0.0]), np.array([1.2, 0.8, 0.0])))
    broken = replace(flat, box=OrientedBox(np.array([3, 2.5, 0.0]), np.array([1.2, np.nan, 0.0])))
    mesh = room.surface
    corners = flat.box.corners[[0, 2, 6, 4]].astype(np.float32) + [0, 0, 0.01]
    surface = Mesh(
        np.concatenate([mesh.vertices, corners.astype(np.float32)]),
        np.concatenate(
            [mesh.triangles, len(mesh.vertices) + np.array([[0, 1, 2], [0, 2, 3]], np.int32)]
        ),
        np.concatenate([mesh.triangle_instance, np.array([90, 90], np.int32)]),
    )
    scenes = [
        replace(room, surface=surface, instances=(*room.instances, thing))
        for thing in (flat, broken)
    ]
    found = [index_scene(scene, compute_visibility(scene)) for scene in scenes]
    assert (
        not found[0].shows_unaskable.any()
        and len(found[0].bystanders.centers) == 1
        and found[1].shows_unaskable.any()
    )
    asked = [
        compute_facts("distance_infer_center_oc_mv", observation, rng_for(1, "room"), 60)
        for observation in found
    ]
    assert len(asked[0]) > len(asked[1])
    facts = asked[0]
    rug = np.linalg.norm(flat.box.center - found[0].poses[facts.frames[:, 0], :3, 3], axis=1)
    shown = found[0].bystanders.there[facts.frames].any(1)[:, 0]
    gold = facts.numbers["distance"][:, 0]
    farthest = facts.numbers["farthest"]
    assert np.where(farthest, gold > rug, gold < rug)[shown].all() and shown.any()


def test_every_chain_is_found() -> None:
    follows = np.zeros((6, 6))
    follows[0, 1] = follows[1, 2] = follows[2, 3] = follows[1, 4] = follows[4, 3] = 1
    drawn = chains(follows, 4, 200, np.random.default_rng(0))
    assert {tuple(row) for row in drawn.tolist()} == {(0, 1, 2, 3), (0, 1, 4, 3)}
    assert not len(chains(follows, 5, 10, np.random.default_rng(0))) and not len(
        chains(np.zeros((0, 0)), 4, 10, np.random.default_rng(0))
    )


def test_generate_says_why_there_are_few(tmp_path: Path) -> None:
    """Twenty frames are no video and a room without walls has no size: said at the end, and kept in
    the manifest."""
    made = generate(
        Toys(("room0000_00",), lambda name: replace(busy_room(name), floor=())),
        tmp_path / "data",
        tasks="room_size,nav_video,depth_prediction_oc",
        per_task=5,
        frames_per_scene=20,
        progress=False,
    )
    text = str(made)
    assert (
        "few of room_size: " in text and "few of nav_video: " in text and "few of depth" not in text
    )
    assert (
        sum(made.content["dropped"]["nav_video"].values()) > 0
        and json.loads((tmp_path / "data/manifest.json").read_text())["dropped"]
        == made.content["dropped"]
    )
    whole = generate(
        Toys(("room0000_00",), lambda name: replace(busy_room(name), floor=())),
        tmp_path / "more",
        tasks="room_size",
        per_task=5,
        progress=False,
    )
    assert "walls enclose too little" in str(whole)
