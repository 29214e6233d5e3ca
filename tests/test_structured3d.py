"""Structured3D: rooms written by an independent exporter, read back; and what is said of damaged
ones."""

import io
import json
import os
import pickle
import shutil
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from exporters.structured3d import pack, png, write_room
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from toys import box_scene, complaint, walk_round

from spar_kit.data.generate import generate
from spar_kit.oracle.verify import verify
from spar_kit.scenes.formats.archives import FileRef
from spar_kit.scenes.geometry.rasterizer import render_depth_and_ids
from spar_kit.scenes.readers.structured3d.annotations import (
    perspective_camera,
    read_boxes,
    read_perspective,
    read_plan,
)
from spar_kit.scenes.readers.structured3d.reader import Structured3D, majority_label
from spar_kit.scenes.scene import Camera, SceneError
from spar_kit.scenes.sources import open_source
from spar_kit.scenes.visibility import VisibilityThresholds, compute_visibility
from spar_kit.tasks.registry import TASKS as FACTS
from spar_kit.tasks.registry import compute_facts, rng_for
from spar_kit.tasks.scene_index import index_scene

ROOM = "scene_00012_485142"
HOUSE = "scene_00012"
W = 160
H = 90
HALF = (0.72, float(np.arctan(np.tan(0.72) * H / W)))
# the exporter's house stands elsewhere; its floor, 25 cm up, comes down to 0
SHIFT = np.array([3.2, -7.1, 0])
OUTLINE = [(0, 0), (6, 0), (6, 5), (0, 5)]
EYE = (2.6, 2.2, 1.5)
FUZZ = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def truth(solids, poses):
    """The room itself, where the reader will find it."""
    f = W / 2 / np.tan(HALF[0])
    camera = Camera(W, H, np.array([[f, 0, (W - 1) / 2], [0, f, (H - 1) / 2], [0, 0, 1]]))
    return box_scene(
        ROOM, solids, poses, cameras=(camera, camera), room="living room", sides=(6, 5), ids=True
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, solids, poses):
    root = tmp_path_factory.mktemp("s3d")
    write_room(root, solids, poses, width=W, height=H, half=HALF, outline=OUTLINE, eye=EYE)
    return root


@pytest.fixture(scope="module")
def loaded(dataset):
    return Structured3D(root=dataset).load(ROOM)


@pytest.fixture(scope="module")
def small(tmp_path_factory, solids, poses):
    """One image, to be copied and damaged."""
    root = tmp_path_factory.mktemp("s3d-small")
    write_room(root, solids, poses[:2], width=64, height=36, half=HALF, outline=OUTLINE)
    return root


@pytest.fixture
def copy(tmp_path, small) -> Path:
    return Path(shutil.copytree(small, tmp_path / "copy"))


def back(scene):
    """The scene moved to where the solids are."""
    move = np.eye(4)
    move[:3, 3] = -SHIFT
    return replace(
        scene,
        frames=tuple(replace(f, camera_to_world=move @ f.camera_to_world) for f in scene.frames),
        instances=tuple(
            replace(i, box=replace(i.box, center=i.box.center - SHIFT)) for i in scene.instances
        ),
        surface=replace(
            scene.surface, vertices=(scene.surface.vertices - SHIFT).astype(np.float32)
        ),
        floor=tuple(f - SHIFT[:2] for f in scene.floor),
    )


# ---------------------------------------------------------------------------------------------- the
# room comes back


def test_room_comes_back(loaded, truth, poses):
    assert (
        loaded.skipped == {}
        and loaded.room_type == "living room"
        and loaded.source == "structured3d"
        and loaded.name == ROOM
    )
    assert [f.index for f in loaded.frames] == [*range(8), *range(1000, 1006)]
    things = {i.id: i for i in truth.instances if i.label not in ("floor", "wall")}
    assert [i.id for i in loaded.instances] == sorted(things)
    for i in loaded.instances:
        due = things[i.id]
        assert i.label == due.label and np.abs(i.box.center - SHIFT - due.box.center).max() < 1e-3
        assert i.box.contains(due.box.corners + SHIFT, 1e-4).all() and np.isclose(
            i.box.size.prod(), due.box.size.prod(), rtol=1e-4
        )
    for frame, pose in zip(back(loaded).frames, poses):
        assert (
            np.abs(frame.camera_to_world - pose).max() < 1e-6
            and np.linalg.det(frame.camera_to_world[:3, :3]) > 0.999
        )
        assert np.allclose(frame.color.intrinsics, truth.frames[0].color.intrinsics) and (
            frame.color.width,
            frame.color.height,
        ) == (W, H)
        data, suffix = frame.read_encoded()
        assert (
            suffix == ".png" == frame.encoding
            and np.array_equal(np.asarray(Image.open(io.BytesIO(data))), frame.read_color())
            and frame.color_file.read_bytes() == data
        )
    assert sorted(map(tuple, (loaded.floor[0] - SHIFT[:2]).round(6).tolist())) == sorted(
        map(tuple, np.array(OUTLINE, float).tolist())
    )


def residuals(scene, truth) -> dict[int, float]:
    """By frame: the median distance [m] between its depth and the room's own mesh, along the
    optical axis."""
    found = {}
    for frame in scene.frames:
        drawn = render_depth_and_ids(truth.surface, frame.depth, frame.camera_to_world)[0]
        depth = frame.read_depth()
        both = (drawn > 0) & (depth > 0)
        found[frame.index] = (
            float(np.median(np.abs(drawn - depth)[both]))
            if both.sum() > 0.05 * both.size
            else np.inf
        )
    return found


def test_depth_and_ids_lie_on_the_rooms_mesh(loaded, truth):
    scene = back(loaded)
    assert max(residuals(scene, truth).values()) < 0.001
    for frame in scene.frames:
        due = render_depth_and_ids(truth.surface, frame.depth, frame.camera_to_world)[1]
        got = frame.read_instances()
        assert (got == np.where(due > 2, due, 0)).mean() > (
            0.999 if frame.index < 1000 else 0.96
        ), frame.index


def test_no_flipped_axis_passes(loaded, truth):
    """Each axis of the camera and of the world mirrored, the pose inverted, the field of view
    doubled: most frames leave the mesh (not all: one may show a bare floor)."""
    scene = back(loaded)
    assert max(residuals(scene, truth).values()) < 0.001

    def torn(frames) -> bool:
        wrong = np.array(list(residuals(scene.with_frames(frames), truth).values()))
        return np.median(wrong) > 0.05 and (wrong > 0.01).mean() > 0.7

    for axis in range(3):
        mirror = np.diag([-1.0 if k == axis else 1 for k in range(3)] + [1])
        assert torn(
            [replace(f, camera_to_world=f.camera_to_world @ mirror) for f in scene.frames]
        ), axis
        assert torn(
            [replace(f, camera_to_world=mirror @ f.camera_to_world) for f in scene.frames]
        ), axis
    assert torn([replace(f, camera_to_world=f.world_to_camera) for f in scene.frames])
    assert torn(
        [
            replace(f, camera_to_world=f.camera_to_world @ np.diag([-1.0, -1, 1, 1]))
            for f in scene.frames
        ]
    )
    # fields of view are halves already
    assert torn(
        [
            replace(f, depth=perspective_camera(W, H, HALF[0] / 2, HALF[1] / 2))
            for f in scene.frames[:8]
        ]
    )


def test_a_pose_known_by_hand(tmp_path):
    """Looks along +x and down, from (1, 2, 3) m: a point to the left has a larger y, and the
    official right-handed cross product is not mirrored."""
    path = tmp_path / "camera_pose.txt"
    path.write_text("1000 2000 3000 0.8 0 -0.6 0.6 0 0.8 0.6 0.4 1\n")
    pose, x, y = read_perspective(FileRef(path))
    assert np.allclose(
        pose, [[0, -0.6, 0.8, 1], [-1, 0, 0, 2], [0, -0.8, -0.6, 3], [0, 0, 0, 1]]
    ) and (x, y) == (0.6, 0.4)
    camera = perspective_camera(1280, 720, x, y)
    for point, place in (
        ((1.8, 2, 2.4), (639.5, 359.5)),
        ((1.8, 2 + np.tan(0.6), 2.4), (-0.5, 359.5)),
        ((1.8 + 0.6 * np.tan(0.4), 2, 2.4 + 0.8 * np.tan(0.4)), (639.5, -0.5)),
    ):
        uv, z = camera.project(pose[:3, :3].T @ (np.array(point) - pose[:3, 3]))
        assert np.isclose(z, 1) and np.allclose(uv, place)


def test_the_same_objects_are_visible_and_the_answers_are_the_same(dataset, truth):
    """The format has no mesh: the shares of unseen surface, and with them the overlap of frames,
    are what it cannot carry. All else agrees."""
    scene = back(Structured3D(root=dataset, views="perspective").load(ROOM))
    room = truth.with_frames(truth.frames)
    rule = VisibilityThresholds(share=0)
    due = compute_visibility(replace(room, instances=room.instances[2:]), rule)
    got = compute_visibility(scene, rule)
    assert (
        np.array_equal(due.frame, got.frame)
        and np.array_equal(due.instance, got.instance)
        and np.array_equal(due.visible, got.visible)
    )
    large = due.pixels >= 100
    pixel = 1000 / H
    assert (
        np.abs(np.log(got.pixels / due.pixels))[large].max() < 0.1
        and np.abs(due.box - got.box)[due.visible].max() < 2.5 * pixel
    )
    assert np.abs(due.center - got.center).max() < 1e-6
    views = [
        index_scene(replace(room, instances=room.instances[2:], floor=scene.floor), due),
        index_scene(
            scene,
            replace(
                got, overlap=due.overlap, fraction=due.fraction, share=due.share, inside=due.inside
            ),
        ),
    ]
    asked = 0
    for task in FACTS:
        # which four boxes matching takes first hangs on their edges: there it gets the same ones
        if task != "position_matching":
            pair = views
        else:
            pair = [
                views[0],
                index_scene(
                    scene,
                    replace(
                        got,
                        overlap=due.overlap,
                        fraction=due.fraction,
                        share=due.share,
                        inside=due.inside,
                        box=due.box,
                    ),
                ),
            ]
        a, b = (compute_facts(task, view, rng_for(0, task), 25) for view in pair)
        assert np.array_equal(a.objects, b.objects) and np.array_equal(a.frames, b.frames), task
        for key in a.numbers:
            if a.numbers[key].dtype != object and a.numbers[key].size:
                assert np.abs(a.numbers[key].astype(float) - b.numbers[key].astype(float)).max() < (
                    2.5 * pixel if key.endswith("_box") else 1e-3
                ), (task, key)
        asked += len(a.frames) > 0
    assert asked >= 18
    seen, known = (
        {(int(f), int(i)) for f, i, ok in zip(t.frame, t.instance, t.visible) if ok}
        for t in (
            compute_visibility(scene),
            compute_visibility(replace(room, instances=room.instances[2:])),
        )
    )
    # with fractions: nothing is lost, and a few are gained
    assert known <= seen


# ----------------------------------------------------------------------------------------------
# panoramas


@pytest.mark.parametrize(("ahead", "instances"), [((0, -1.0, 0), True), ((0, 1.0, 0), False)])
def test_panoramas_say_themselves_which_way_they_look(tmp_path, solids, truth, ahead, instances):
    write_room(
        tmp_path,
        solids,
        [],
        width=W,
        height=H,
        half=HALF,
        outline=OUTLINE,
        eye=EYE,
        ahead=ahead,
        panorama_instances=instances,
    )
    scene = Structured3D(root=tmp_path).load(ROOM)
    assert [f.index for f in scene.frames] == list(range(1000, 1006)) and max(
        residuals(back(scene), truth).values()
    ) < 0.002
    assert {i.label for i in scene.instances} <= {i.label for i in truth.instances} and len(
        scene.instances
    ) >= 12
    assert (
        np.allclose(
            scene.frames[0].camera_to_world[:3, 2] * [1, 1, 0], [0, -np.cos(np.radians(12)), 0]
        )
        and scene.frames[1].camera_to_world[0, 2] > 0.8
    )


def test_a_mirrored_panorama_is_left_out(tmp_path, solids):
    folder = (
        write_room(tmp_path, solids, [], width=W, height=H, half=HALF, outline=OUTLINE, eye=EYE)
        / "2D_rendering"
        / "485142"
        / "panorama"
        / "full"
    )
    for name in ("rgb_rawlight", "depth", "semantic"):
        image = Image.open(folder / f"{name}.png")
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / f"{name}.png")
    assert "6 x frame: the panorama fits the boxes in no direction" in complaint(
        Structured3D(root=tmp_path).load, ROOM
    )


# ----------------------------------------------------------------------------------------------
# zips, lists, splits


def test_zips_are_the_unpacked_twin(tmp_path, dataset, loaded):
    shutil.copytree(dataset, tmp_path / "a")
    packed = pack(tmp_path / "a")
    assert len(packed) == 4 and not (tmp_path / "a" / "Structured3D").exists()
    twin = Structured3D(root=tmp_path / "a").load(ROOM)
    assert (
        Structured3D(root=tmp_path / "a").scenes() == [ROOM]
        and twin.skipped == {}
        and len(twin.frames) == 14
        and twin.frames[0].depth_file is None
    )
    assert np.array_equal(twin.surface.vertices, loaded.surface.vertices) and np.array_equal(
        twin.surface.triangle_instance, loaded.surface.triangle_instance
    )
    assert all(
        np.array_equal(a.read_color(), b.read_color())
        for a, b in zip(twin.frames[::5], loaded.frames[::5])
    )
    for root in (dataset / "Structured3D", dataset / "Structured3D" / HOUSE):
        assert Structured3D(root=root).scenes() == [ROOM]
    scene = pickle.loads(
        pickle.dumps(
            Structured3D(root=dataset / "Structured3D" / HOUSE, frames=2, views="perspective")
        )
    ).load(ROOM)
    frame = pickle.loads(pickle.dumps(scene.frames[0]))
    assert len(scene.frames) == 2 and np.array_equal(
        frame.read_depth(), scene.frames[0].read_depth()
    )
    only = next(path for path in packed if "perspective" in path.name)
    assert Structured3D(root=only).scenes() == [
        ROOM
    ] and "bbox_3d.json: the file is missing" in complaint(Structured3D(root=only).load, ROOM)


def test_splits_errata_and_many_rooms(tmp_path):
    with zipfile.ZipFile(tmp_path / "Structured3D_perspective_full_00.zip", "w") as archive:
        for house in (0, 7, 2999, 3000, 3249, 3250, 1155):
            for room in (9, 10, 485142):
                archive.writestr(
                    f"Structured3D/scene_{house:05d}/2D_rendering/{room}/perspective/full/0/camera_pose.txt",
                    "",
                )
    (tmp_path / "Structured3D" / "scene_00007" / "2D_rendering" / "11").mkdir(parents=True)
    source = Structured3D(root=tmp_path)
    assert len(source.scenes()) == 6 * 3 + 1 and source.scenes()[:3] == [
        "scene_00000_9",
        "scene_00000_10",
        "scene_00000_485142",
    ]
    assert (
        source.scenes("val")
        == [f"scene_{h}_{r}" for h in ("03000", "03249") for r in (9, 10, 485142)]
        and len(source.scenes("train")) == 10
    )
    (tmp_path / "errata.txt").write_text(
        "# self-intersection layout\nscene_00000_room_10\nscene_03000\n"
    )
    assert (
        "scene_00000_10" not in source.scenes()
        and len(source.scenes()) == 15
        and "errata" in complaint(source.load, "scene_00000_10")
    )
    assert (
        Structured3D(root=tmp_path, count=2).scenes("val") == ["scene_03249_9", "scene_03249_10"]
        and source.describe()["rooms"] == 15
    )
    assert str(tmp_path) not in str(source.describe())
    with pytest.raises(ValueError, match="train or val"):
        source.scenes("test")


def test_a_summary_looks_at_no_image(copy):
    for path in copy.rglob("*.png"):
        path.write_bytes(b"")
    told = Structured3D(root=copy).summary(ROOM)
    assert (told.frames, told.valid, told.instances, round(told.area, 6), told.warnings) == (
        2,
        2,
        20,
        30,
        (),
    )
    (copy / POSITION / "camera_pose.txt").write_text("x")
    told = Structured3D(root=copy).summary(ROOM)
    assert (told.frames, told.valid) == (2, 1) and told.warnings == (
        "1 x frame: camera_pose.txt: something that is not a number",
    )


def test_what_is_said_of_folders_without_rooms(tmp_path):
    assert "no Structured3D room here" in complaint(Structured3D(root=tmp_path).scenes)
    assert "no such folder" in complaint(Structured3D(root=tmp_path / "x").scenes)
    (tmp_path / "part.zip").write_bytes(b"PK\x03\x04 cut off")
    assert "part.zip: not a zip file" in complaint(Structured3D(root=tmp_path).scenes)
    assert open_source(f"structured3d:{tmp_path}", scenes=3, frames=4) == Structured3D(
        root=tmp_path, count=3, frames=4
    )


# ----------------------------------------------------------------------------------------------
# faults


POSITION = f"Structured3D/{HOUSE}/2D_rendering/485142/perspective/full/0"


def test_each_missing_file_is_named(copy):
    for name in (
        "camera_pose.txt",
        "depth.png",
        "instance.png",
        "semantic.png",
        "rgb_rawlight.png",
    ):
        data = (copy / POSITION / name).read_bytes()
        (copy / POSITION / name).unlink()
        scene = Structured3D(root=copy).load(ROOM)
        assert scene.skipped[f"frame: {name} is missing"] == 1 and [
            f.index for f in scene.frames
        ] == [1]
        (copy / POSITION / name).write_bytes(data)
    house = copy / "Structured3D" / HOUSE
    (house / "annotation_3d.json").unlink()
    scene = Structured3D(root=copy).load(ROOM)
    assert (
        scene.skipped["floor: annotation_3d.json is missing"] == 1
        and scene.floor == ()
        and scene.room_type == ""
    )
    (house / "bbox_3d.json").unlink()
    assert f"{HOUSE}/bbox_3d.json: the file is missing" in complaint(
        Structured3D(root=copy).load, ROOM
    )
    shutil.rmtree(house / "2D_rendering" / "485142")
    (house / "2D_rendering" / "485142").mkdir()
    assert "no room" in complaint(
        Structured3D(root=copy).load, ROOM
    ) and "cannot be a room's name" in complaint(Structured3D(root=copy).load, "../x")


def test_each_file_cut_anywhere_is_named(copy):
    for name in (
        "camera_pose.txt",
        "depth.png",
        "instance.png",
        "semantic.png",
        "rgb_rawlight.png",
    ):
        data = (copy / POSITION / name).read_bytes()
        for keep in (0, 10, 30, len(data) // 2):
            (copy / POSITION / name).write_bytes(data[: min(keep, len(data) - 20)])
            scene = Structured3D(root=copy).load(ROOM)
            ((reason, count),) = (
                (why, n) for why, n in scene.skipped.items() if not why.startswith("expected")
            )
            assert (
                reason.startswith(f"frame: {name}: ")
                and count == 1
                and [f.index for f in scene.frames] == [1]
            ), reason
        (copy / POSITION / name).write_bytes(data)
    house = copy / "Structured3D" / HOUSE
    (house / "annotation_3d.json").write_bytes((house / "annotation_3d.json").read_bytes()[:-9])
    assert any(
        why.startswith("floor: annotation_3d.json: not JSON")
        for why in Structured3D(root=copy).load(ROOM).skipped
    )
    (house / "bbox_3d.json").write_bytes((house / "bbox_3d.json").read_bytes()[:-9])
    assert "bbox_3d.json" in complaint(
        Structured3D(root=copy).load, ROOM
    ) and "line 1 column" in complaint(Structured3D(root=copy).load, ROOM)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 2 3", "3 numbers where 12"),
        ("a b c", "not a number"),
        ("nan 0 0 0 1 0 0 0 1 .7 .5 1", "pose is not finite"),
        ("0 0 0 0 1 0 0 0 1 inf .5 1", "pose is not finite"),
        ("0 0 0 0 0 0 0 0 1 .7 .5 1", "no pose"),
        ("0 0 0 0 1 0 0 2 0 .7 .5 1", "no pose"),
        ("1e9 0 0 0 1 0 0 0 1 .7 .5 1", "no pose"),
        ("0 0 0 0 1 0 0 0 1 1.6 .5 1", "half fields"),
        ("0 0 0 0 1 0 0 0 1 .7 0 1", "half fields"),
        ("0 0 0 0 1 0 0 0 1 -.7 .5 1", "half fields"),
    ],
)
def test_bad_poses_are_left_out(copy, text, words):
    (copy / POSITION / "camera_pose.txt").write_text(text)
    scene = Structured3D(root=copy).load(ROOM)
    assert [f.index for f in scene.frames] == [1] and any(
        words in why and n == 1 for why, n in scene.skipped.items()
    ), scene.skipped


def test_images_of_another_size_or_kind(copy):
    for name, image, words in (
        ("semantic.png", np.zeros((5, 6), np.uint8), "6x5 where 64x36"),
        ("instance.png", np.zeros((360, 640), np.uint16), "640x360 where 64x36"),
        ("rgb_rawlight.png", np.zeros((5, 6, 3), np.uint8), "6x5"),
        ("depth.png", np.full((36, 64), 9, np.uint8), "8 bit"),
        ("depth.png", np.zeros((36, 64), np.uint16), "no depth at all"),
        ("instance.png", np.zeros((36, 64, 3), np.uint8), "mode RGB"),
    ):
        data = (copy / POSITION / name).read_bytes()
        (copy / POSITION / name).write_bytes(png(image))
        scene = Structured3D(root=copy).load(ROOM)
        assert [f.index for f in scene.frames] == [1] and any(
            words in why for why in scene.skipped
        ), (name, scene.skipped)
        (copy / POSITION / name).write_bytes(data)
    head = png(np.zeros((2, 2), np.uint16))
    (copy / POSITION / "depth.png").write_bytes(
        head[:16] + struct.pack(">II", 60000, 60000) + head[24:]
    )
    assert (
        "frame: depth.png: an image of 60000x60000 is absurd"
        in Structured3D(root=copy).load(ROOM).skipped
    )


EYE3 = np.eye(3).tolist()


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"ID": 4}, "damaged"),
        (7, "its ID"),
        ({"ID": -1, "basis": EYE3, "coeffs": [1, 1, 1], "centroid": [0, 0, 0]}, "its ID"),
        ({"ID": 65535}, "its ID"),
        ({"ID": True}, "its ID"),
        ({"ID": 4, "basis": EYE3, "coeffs": [1, 1], "centroid": [0, 0, 0]}, "damaged"),
        ({"ID": 4, "basis": EYE3, "coeffs": [1, 1, None], "centroid": [0, 0, 0]}, "damaged"),
        ({"ID": 4, "basis": EYE3, "coeffs": [1, 1, "x"], "centroid": [0, 0, 0]}, "damaged"),
        ({"ID": 4, "basis": EYE3, "coeffs": [1, 1, -1], "centroid": [0, 0, 0]}, "absurd"),
        ({"ID": 4, "basis": EYE3, "coeffs": [1, 1, 1e12], "centroid": [0, 0, 0]}, "absurd"),
        ({"ID": 4, "basis": EYE3, "coeffs": [1, 1, 1], "centroid": [1e300, 0, 0]}, "absurd"),
        (
            {
                "ID": 4,
                "basis": [[1, 0, 0], [1, 0, 0], [0, 0, 1]],
                "coeffs": [1, 1, 1],
                "centroid": [0, 0, 0],
            },
            "orthonormal",
        ),
        (
            {"ID": 1, "basis": EYE3, "coeffs": [1, 1, 1], "centroid": [0, 0, 0]},
            "its number is taken",
        ),
    ],
)
def test_bad_boxes_are_counted(tmp_path, entry, words):
    good = {"ID": 1, "basis": EYE3, "coeffs": [100, 200, 300], "centroid": [1000, 0, 300]}
    (tmp_path / "bbox_3d.json").write_text(json.dumps([good, entry]))
    boxes, skipped = read_boxes(FileRef(tmp_path / "bbox_3d.json"))
    assert (
        list(boxes) == [1]
        and np.allclose(boxes[1].center, [1, 0, 0.3])
        and sum(skipped.values()) == 1
        and words in next(iter(skipped))
    )


def change(path: Path, edit) -> None:
    content = json.loads(path.read_bytes())
    path.write_text(json.dumps(edit(content) or content))


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda c: c.pop("junctions"), "junctions"),
        (lambda c: c.update(lines=3), "lines"),
        (lambda c: c["junctions"][0].update(coordinate=[1, 2]), "junctions"),
        (lambda c: c["junctions"][0].update(coordinate=[1e300, 2, 3]), "junctions"),
        (lambda c: c["lineJunctionMatrix"].pop(), "matrices"),
        (lambda c: c["lineJunctionMatrix"][0].pop(), "lineJunctionMatrix"),
        (lambda c: c["planeLineMatrix"][0].pop(), "planeLineMatrix"),
        (lambda c: c["semantics"].append({"ID": 3}), "semantics"),
        (lambda c: c["semantics"].append(3), "semantics"),
    ],
)
def test_bad_floor_plans_are_named_and_the_room_is_read(copy, edit, words):
    path = copy / "Structured3D" / HOUSE / "annotation_3d.json"
    change(path, lambda content: edit(content) and None)
    assert words in complaint(read_plan, FileRef(path))
    scene = Structured3D(root=copy).load(ROOM)
    assert scene.floor == () and any(
        why.startswith("floor: ") and n == 1 for why, n in scene.skipped.items()
    )


def test_an_open_or_crossed_floor_is_no_floor(copy):
    path = copy / "Structured3D" / HOUSE / "annotation_3d.json"
    change(path, lambda c: c["planeLineMatrix"][0].__setitem__(c["planeLineMatrix"][0].index(1), 0))
    scene = Structured3D(root=copy).load(ROOM)
    assert (
        scene.floor == ()
        and scene.skipped["floor: its outline is not closed"] == 1
        and scene.room_type == "living room"
    )
    change(path, lambda c: c.update(semantics=[]))
    assert Structured3D(root=copy).load(ROOM).floor == ()


# ----------------------------------------------------------------------------------------------
# names


def test_unseen_mixed_nameless_and_foreign_objects_are_told_apart(copy, solids):
    house = copy / "Structured3D" / HOUSE
    scene = Structured3D(root=copy).load(ROOM)
    before = {i.id for i in scene.instances}
    hidden = {"ID": 999, "basis": EYE3, "coeffs": [100, 100, 100], "centroid": [5000, -5000, 500]}
    change(house / "bbox_3d.json", lambda boxes: [*boxes, hidden])
    size = {
        i.id: sum(int((f.read_instances() == i.id).sum()) for f in scene.frames)
        for i in scene.instances
    }
    largest = sorted(size, key=size.get)[-3:]
    for position in (0, 1):
        folder = copy / POSITION[:-1] / str(position)
        ids = np.array(Image.open(folder / "instance.png"))
        classes = np.array(Image.open(folder / "semantic.png"))
        classes[ids == largest[0] - 1] = 0
        mixed = ids == largest[1] - 1
        classes[mixed & (np.cumsum(mixed).reshape(mixed.shape) % 5 < 2)] = 6
        (folder / "semantic.png").write_bytes(png(classes))
    change(
        house / "bbox_3d.json",
        lambda boxes: [
            (
                b | {"centroid": [b["centroid"][0] + 20000, *b["centroid"][1:]]}
                if b["ID"] == largest[2] - 1
                else b
            )
            for b in boxes
        ],
    )
    scene = Structured3D(root=copy).load(ROOM)
    assert {i.id for i in scene.instances} == before - set(largest)
    for reason in (
        "it is in another room",
        "its pixels bear no name",
        "its pixels bear several names",
        "no image shows it",
    ):
        assert scene.skipped[f"expected: object is left out, {reason}"] >= 1
    assert not set(largest) & set(np.unique(scene.surface.triangle_instance))
    change(house / "bbox_3d.json", lambda boxes: boxes[:3])
    assert (
        Structured3D(root=copy).load(ROOM).skipped["object: an image shows it, but it has no box"]
        > 0
    )
    (house / "bbox_3d.json").write_text("[]")
    assert "no object has a name" in complaint(Structured3D(root=copy).load, ROOM)


def test_the_vote():
    ids = np.array([[1] * 10 + [2] * 10 + [0] * 5])
    classes = np.array([[5] * 7 + [7] * 3 + [6] * 6 + [35] * 4 + [1] * 5])
    assert majority_label([(ids, classes)]) == {1: ("chair", 0.7), 2: ("sofa", 0.6)}
    assert majority_label([(ids, classes), (np.full((1, 10), 2), np.full((1, 10), 35))]) == {
        1: ("chair", 0.7),
        2: ("lamp", 0.7),
    }
    assert majority_label([]) == {} and majority_label([(np.array([[3]]), np.array([[200]]))]) == {
        3: ("", 1.0)
    }


# ----------------------------------------------------------------------------------------------
# archives and links


def test_an_archive_cut_anywhere_is_named_and_the_rest_is_read(tmp_path, small):
    """At each boundary of its structure: local header, name, data, directory, end record. Rooms
    that other archives hold are read, and what is missing is said."""
    root = Path(shutil.copytree(small, tmp_path / "a"))
    shutil.copytree(root / "Structured3D" / HOUSE, root / "Structured3D" / "scene_00013")
    torn = root / "torn.zip"
    whole = pack(root)
    only = next(path for path in whole if "perspective" in path.name)
    with zipfile.ZipFile(only) as archive, zipfile.ZipFile(torn, "w") as half:
        for info in archive.infolist():
            if "scene_00013" in info.filename:
                half.writestr(info.filename, archive.read(info))
    with zipfile.ZipFile(only) as archive, zipfile.ZipFile(root / "rest.zip", "w") as half:
        for info in archive.infolist():
            if HOUSE in info.filename:
                half.writestr(info.filename, archive.read(info))
    only.unlink()
    assert len(Structured3D(root=root).scenes()) == 2
    data = torn.read_bytes()
    end = data.rindex(b"PK\5\6")
    start = struct.unpack("<I", data[end + 16 : end + 20])[0]
    for cut in (0, 3, 4, 29, 40, 500, start - 1, start, start + 46, end, end + 4, len(data) - 1):
        torn.write_bytes(data[:cut])
        source = Structured3D(root=root)
        assert (
            source.scenes() == [ROOM]
            and source.load(ROOM).skipped["archive: torn.zip cannot be opened"] == 1
        ), cut
        assert source.summary(ROOM).warnings == ("1 x archive: torn.zip cannot be opened",)
        assert "no room scene_00013_485142; archive: torn.zip cannot be opened" in complaint(
            source.load, "scene_00013_485142"
        )
    with pytest.raises(SceneError, match="torn.zip cannot be opened"):
        generate(
            Structured3D(root=root),
            tmp_path / "strict",
            tasks="camera_motion_infer",
            per_task=1,
            strict=True,
            progress=False,
        )
    report = generate(
        Structured3D(root=root),
        tmp_path / "out",
        tasks="camera_motion_infer",
        per_task=1,
        progress=False,
    )
    assert "1 x archive: torn.zip cannot be opened" in str(report)
    flipped = bytearray(data)
    flipped[data.index(b"depth.png") + 60] ^= 255
    torn.write_bytes(bytes(flipped))
    assert "frame: depth.png: cannot be read from the archive" in str(
        Structured3D(root=root).load("scene_00013_485142").skipped
    )


def test_a_position_named_twice_is_read_once(copy):
    shutil.copytree(copy / POSITION, copy / POSITION[:-1] / "00")
    scene = Structured3D(root=copy).load(ROOM)
    assert [f.index for f in scene.frames] == [0, 1] and scene.skipped[
        "frame: its number occurs twice"
    ] == 1


def test_members_that_climb_are_not_there_and_bombs_stay_small(tmp_path, small, monkeypatch):
    root = Path(shutil.copytree(small, tmp_path / "a"))
    packed = pack(root)
    with zipfile.ZipFile(packed[0], "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"../{HOUSE}/2D_rendering/7/perspective/full/0/camera_pose.txt", "")
        archive.writestr(f"Structured3D/{HOUSE}/2D_rendering/../../../../evil/camera_pose.txt", "")
        archive.writestr(
            f"/Structured3D/{HOUSE}/2D_rendering/8/perspective/full/0/camera_pose.txt", ""
        )
        archive.writestr(
            f"Structured3D/{HOUSE}/2D_rendering/485142/perspective/full/9/depth.png",
            bytes(70_000_000),
        )
        for name in ("camera_pose.txt", "semantic.png", "instance.png", "rgb_rawlight.png"):
            archive.writestr(
                f"Structured3D/{HOUSE}/2D_rendering/485142/perspective/full/9/{name}",
                "0 0 0 0 1 0 0 0 1 .7 .5 1",
            )
    assert Structured3D(root=root).scenes() == [ROOM]
    scene = Structured3D(root=root).load(ROOM)
    assert [f.index for f in scene.frames] == [0, 1] and any(
        "70,000,000 bytes are too many" in why for why in scene.skipped
    )
    lie = tmp_path / "lie.zip"
    with zipfile.ZipFile(lie, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.json", b" " * 5_000_000)
    data = lie.read_bytes()
    lie.write_bytes(data.replace(struct.pack("<I", 5_000_000), struct.pack("<I", 50)))
    assert "cannot be read from the archive" in complaint(FileRef(lie, "a.json").read, 1000)
    with pytest.raises(SceneError, match="too many"):
        FileRef(packed[0], zipfile.ZipFile(packed[0]).namelist()[0]).read(3)


def test_links_are_followed_but_not_for_ever(tmp_path, small):
    root = tmp_path / "a"
    root.mkdir()
    (root / "Structured3D").mkdir()
    os.symlink(small / "Structured3D" / HOUSE, root / "Structured3D" / HOUSE)
    assert Structured3D(root=root).load(ROOM).skipped == Structured3D(root=small).load(ROOM).skipped
    other = Path(shutil.copytree(small, tmp_path / "b"))
    os.symlink("..", other / "Structured3D" / HOUSE / "2D_rendering" / "485142" / "up")
    os.symlink("nowhere", other / POSITION / "albedo.png")
    assert len(Structured3D(root=other).load(ROOM).frames) == 2


# ----------------------------------------------------------------------------------------------
# fuzz


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 70000)
    | st.floats(allow_nan=False)
    | st.text(max_size=3),
    lambda c: (
        st.lists(c, max_size=4)
        | st.dictionaries(
            st.sampled_from(["ID", "basis", "coeffs", "centroid", "type", "planeID", "coordinate"]),
            c,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@FUZZ
@given(data=st.data())
def test_fuzz_of_the_text_files(tmp_path_factory, small, data):
    folder = tmp_path_factory.mktemp("fuzz")
    house = small / "Structured3D" / HOUSE
    for name, read in (("bbox_3d.json", read_boxes), ("annotation_3d.json", read_plan)):
        content = json.loads((house / name).read_bytes())
        place = content
        for _ in range(data.draw(st.integers(1, 4))):  # walk down, replace what is there
            if isinstance(place, dict):
                keys = list(place)
            elif isinstance(place, list):
                keys = list(range(len(place)))
            else:
                keys = []
            if not keys:
                break
            key = data.draw(st.sampled_from(keys))
            if data.draw(st.booleans()) or not isinstance(place[key], dict | list):
                place[key] = data.draw(JSON)
                break
            place = place[key]
        text = json.dumps(content).encode()
        if data.draw(st.booleans()):
            at = data.draw(st.integers(0, len(text)))
            text = (
                text[:at]
                + data.draw(st.binary(max_size=4))
                + text[at + data.draw(st.integers(0, 4)) :]
            )
        (folder / name).write_bytes(text)
        try:
            read(FileRef(folder / name))
        except SceneError as error:
            assert name in str(error)
    numbers = st.one_of(
        st.floats(), st.integers(-(10**6), 10**6), st.sampled_from(["x", "1e999", "", "0x1"])
    )
    (folder / "camera_pose.txt").write_text(
        " ".join(map(str, data.draw(st.lists(numbers, min_size=10, max_size=13))))
    )
    try:
        pose, x, y = read_perspective(FileRef(folder / "camera_pose.txt"))
        assert (
            np.isfinite(pose).all()
            and abs(np.linalg.det(pose[:3, :3]) - 1) < 1e-6
            and 0 < x < 1.6
            and 0 < y < 1.6
        )
    except SceneError as error:
        assert "camera_pose.txt" in str(error)


# ----------------------------------------------------------------------------------------------
# questions


def test_questions_are_confirmed(tmp_path, solids):
    """All tasks but nav, from a room with enough images for a video."""
    write_room(
        tmp_path / "data",
        solids,
        list(walk_round(33)),
        width=120,
        height=68,
        half=(0.8, 0.55),
        outline=OUTLINE,
    )
    made = generate(
        open_source(f"structured3d:{tmp_path / 'data'}"),
        tmp_path / "out",
        per_task=2,
        progress=False,
    )
    report = verify(tmp_path / "out")
    assert (
        report.ok
        and sum(t.checked for t in report.tasks.values()) > 100
        and not any(t.mismatched for t in report.tasks.values())
    )
    assert {"room_size", "obj_count", "position_matching", "view_change_infer"} <= {
        k for k, t in report.tasks.items() if t.checked
    }, made
