"""ARKitScenes: a scan written by an independent exporter, read back; and what is said of damaged
ones."""

import io
import json
import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from exporters.arkitscenes import HELD, png, write_scan
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from toys import box_scene, complaint, walk_round

from spar_kit.data.generate import generate
from spar_kit.oracle.verify import verify
from spar_kit.scenes.geometry.rasterizer import render_depth_and_ids
from spar_kit.scenes.readers.arkitscenes import (
    ARKitScenes,
    read_objects,
    read_pincam,
    read_trajectory,
)
from spar_kit.scenes.scene import SceneError
from spar_kit.scenes.sources import open_source
from spar_kit.scenes.visibility import VisibilityThresholds, compute_visibility
from spar_kit.tasks.registry import TASKS as FACTS
from spar_kit.tasks.registry import compute_facts, rng_for
from spar_kit.tasks.scene_index import index_scene

SCAN = "41069021"
SIZE = (128, 96)
LENS = {"size": SIZE, "focal": (105.9, 107.2), "center": (60.2, 49.6)}
TURN = np.radians(33)
# the floor, 1.37 m down, comes up to 0
MOVE = np.array(
    [
        [np.cos(TURN), -np.sin(TURN), 0, 0.7],
        [np.sin(TURN), np.cos(TURN), 0, -1.9],
        [0, 0, 1, 0],
        [0, 0, 0, 1],
    ]
)
FUZZ = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, solids, poses):
    root = tmp_path_factory.mktemp("arkit")
    write_scan(root, solids, poses, **LENS)
    return root


@pytest.fixture(scope="module")
def loaded(dataset):
    return ARKitScenes(dataset).load(SCAN)


@pytest.fixture(scope="module")
def truth(solids, poses, loaded):
    return box_scene(
        SCAN, solids, poses, cameras=(loaded.frames[0].color,) * 2, room="", sides=(6, 5), ids=True
    )


@pytest.fixture
def copy(tmp_path, dataset) -> Path:
    """A copy of the scan's folder, to be damaged; its root is three folders up."""
    return Path(shutil.copytree(dataset, tmp_path / "copy")) / "3dod" / "Validation" / SCAN


def reload(folder: Path):
    return ARKitScenes(folder.parents[2]).load(SCAN)


def back(scene):
    """The scene moved to where the solids are."""
    home = np.linalg.inv(MOVE)
    place = lambda points: points @ home[:3, :3].T + home[:3, 3]  # noqa: E731
    return replace(
        scene,
        frames=tuple(replace(f, camera_to_world=home @ f.camera_to_world) for f in scene.frames),
        instances=tuple(
            replace(i, box=replace(i.box, center=place(i.box.center), yaw=i.box.yaw - TURN))
            for i in scene.instances
        ),
        surface=replace(
            scene.surface, vertices=place(scene.surface.vertices.astype(float)).astype(np.float32)
        ),
    )


# ---------------------------------------------------------------------------------------------- the
# scan comes back


def test_scan_comes_back(loaded, truth, poses, solids):
    assert (
        loaded.skipped == {"expected: frame has no pose within 5 ms": 2}
        and loaded.source == "arkitscenes"
        and [f.index for f in loaded.frames] == list(range(8))
    )
    things = [s for s in solids if s.label not in ("floor", "wall")]
    assert [i.label for i in loaded.instances] == [s.label for s in things] and [
        i.id for i in loaded.instances
    ] == list(range(1, 21))
    for i, s in zip(back(loaded).instances, things):
        assert (
            np.abs(i.box.center - s.box.center).max() < 1e-3
            and i.box.contains(s.box.corners, 1e-4).all()
            and np.isclose(i.box.size.prod(), s.box.size.prod(), rtol=1e-4)
        )
    for frame, pose in zip(back(loaded).frames, poses):
        assert np.abs(frame.camera_to_world - pose).max() < 1e-6
    # the sky is at the left: turned upright, x is what -y was
    camera = loaded.frames[0].color
    assert (camera.width, camera.height) == (96, 128) and np.allclose(
        camera.intrinsics, [[107.2, 0, 95 - 49.6], [0, 105.9, 60.2], [0, 0, 1]]
    )
    floor = loaded.surface.vertices[
        loaded.surface.triangles[loaded.surface.triangle_instance == 0]
    ].mean(1)
    # 1.37 m below where the tablet was switched on
    assert np.isclose(floor[:, 2], 0, atol=1e-3).sum() > 5000
    assert loaded.frames[0].read_encoded is None and loaded.frames[0].color_file is None


def residuals(scene, truth) -> np.ndarray:
    """For each frame the median distance [m] between its depth and the room's own mesh, along the
    optical axis."""
    found = []
    for frame in scene.frames:
        drawn = render_depth_and_ids(truth.surface, frame.depth, frame.camera_to_world)[0]
        depth = frame.read_depth()
        both = (drawn > 0) & (depth > 0)
        found.append(
            np.median(np.abs(drawn - depth)[both]) if both.sum() > 0.05 * both.size else np.inf
        )
    return np.array(found)


def test_depth_lies_on_the_mesh_and_ids_on_their_things(loaded, truth):
    scene = back(loaded)
    assert residuals(scene, truth).max() < 0.001 and residuals(scene, scene).max() < 0.001
    number = {i.id: j.id for i, j in zip(loaded.instances, truth.instances[2:])}
    for frame in scene.frames:
        due, got = (
            render_depth_and_ids(s.surface, frame.color, frame.camera_to_world)[1]
            for s in (truth, scene)
        )
        assert (
            np.vectorize(lambda i: number.get(i, 0))(got) == np.where(due > 2, due, 0)
        ).mean() > 0.99


@pytest.mark.parametrize("sky", HELD)
def test_images_come_upright_however_the_tablet_was_held(tmp_path, solids, poses, sky):
    write_scan(tmp_path, solids[:9], poses[:3], sky=sky, **LENS)
    scene = ARKitScenes(tmp_path).load(SCAN)
    frame = back(scene).frames[1]
    pose = poses[1]
    assert (
        not any("sky_direction" in why for why in scene.skipped)
        and np.abs(frame.camera_to_world - pose).max() < 1e-6
    )
    truth = box_scene(
        SCAN, solids[:9], poses[:3], cameras=(frame.color, frame.depth), room="", sides=(6, 5)
    )
    assert (
        residuals(back(scene), truth).max() < 0.001
        and np.mean(np.abs(frame.read_color().astype(int) - truth.frames[1].read_color())) < 25
    )
    assert (frame.read_encoded is not None) == (sky == "Up") and frame.read_depth().shape == (
        frame.depth.height,
        frame.depth.width,
    )
    if sky == "Up":
        assert np.array_equal(
            np.asarray(Image.open(io.BytesIO(frame.read_encoded()[0]))), frame.read_color()
        )
    (tmp_path / "metadata.csv").write_text(
        f"video_id,sky_direction\n{SCAN},{'Down' if sky != 'Down' else 'Up'}\n"
    )
    assert f"the poses say {sky}" in str(ARKitScenes(tmp_path).load(SCAN).skipped)


def test_no_flipped_axis_passes(loaded, truth):
    """Each axis of the camera and of the world mirrored, the pose not inverted, the image not
    turned: most frames leave the mesh."""
    scene = back(loaded)

    def torn(frames) -> bool:
        wrong = residuals(scene.with_frames(frames), truth)
        return np.median(wrong) > 0.05 and (wrong > 0.01).mean() > 0.7

    assert not torn(scene.frames)
    for axis in range(3):
        mirror = np.diag([-1.0 if k == axis else 1 for k in range(3)] + [1])
        assert torn(
            [replace(f, camera_to_world=f.camera_to_world @ mirror) for f in scene.frames]
        ), axis
        assert torn(
            [replace(f, camera_to_world=mirror @ f.camera_to_world) for f in scene.frames]
        ), axis
    assert torn(
        [
            replace(f, camera_to_world=np.linalg.inv(MOVE) @ a.world_to_camera)
            for f, a in zip(scene.frames, loaded.frames)
        ]
    )
    assert torn(
        [
            replace(f, camera_to_world=f.camera_to_world @ np.diag([-1.0, -1, 1, 1]))
            for f in scene.frames
        ]
    )


def test_a_pose_known_by_hand(tmp_path):
    """From the world to the camera: a quarter turn about x lays a camera that looked up along z so
    that it looks along +y, its down along -z."""
    (tmp_path / "a.traj").write_text(
        f"5.0 {np.pi / 2} 0 0 0.1 0.2 0.3\n6.0 {2 * np.pi / 3 / np.sqrt(3)}"
        f" {2 * np.pi / 3 / np.sqrt(3)} {2 * np.pi / 3 / np.sqrt(3)} 0 0 0\n"
    )
    times, poses, _ = read_trajectory(tmp_path / "a.traj")
    assert np.allclose(poses[0], [[1, 0, 0, -0.1], [0, 0, 1, -0.3], [0, -1, 0, 0.2], [0, 0, 0, 1]])
    # x -> y -> z -> x, and back
    assert times.tolist() == [5, 6] and np.allclose(poses[1][:3, :3] @ [0, 1, 0], [1, 0, 0])


def test_the_same_objects_are_visible_and_the_answers_are_the_same(loaded, truth, dataset):
    """Undersides have no label, and the boxes that overlap in this crowded room share their
    triangles: fractions and the overlap of frames may differ a little."""
    scene = back(loaded)
    rule = VisibilityThresholds(share=0)
    number = {j.id: i.id for i, j in zip(loaded.instances, truth.instances[2:])}
    room = replace(
        truth,
        instances=tuple(replace(i, id=number[i.id]) for i in truth.instances[2:]),
        surface=replace(
            truth.surface,
            triangle_instance=np.array(
                [number.get(i, 0) for i in truth.surface.triangle_instance], np.int32
            ),
        ),
    )
    due = compute_visibility(room, rule)
    got = compute_visibility(scene, rule)
    seen = [
        {(int(f), int(i)) for f, i, ok in zip(t.frame, t.instance, t.visible) if ok}
        for t in (due, got)
    ]
    assert seen[0] == seen[1] and len(seen[0]) > 30
    views = [index_scene(replace(room, floor=()), due), index_scene(scene, got)]
    asked = 0
    for task in FACTS:
        # from the mesh's outline: the box of a wall has two sides here
        if task == "room_size":
            continue
        facts = [compute_facts(task, view, rng_for(0, task), 400) for view in views]
        rows = [
            {
                (*f.objects[k].tolist(), *f.frames[k].tolist(), *f.view[k].tolist()): {
                    name: value[k] for name, value in f.numbers.items()
                }
                for k in range(len(f))
            }
            for f in facts
        ]
        both = rows[0].keys() & rows[1].keys()
        asked += len(both) > 0
        for key in both:
            for name in rows[0][key].keys() & {
                "answer",
                "given",
                "distance",
                "size",
                "translation",
            }:
                a, b = (row[key][name] for row in rows)
                assert a.dtype.kind != "f" or np.abs(a - b).max() < 1e-3, (task, name)
    assert asked >= 12


# ----------------------------------------------------------------------------------------------
# folders


def test_older_names_larger_images_and_lists(tmp_path, solids, poses):
    folder = write_scan(
        tmp_path,
        solids[:5],
        poses[:3],
        scan="40753679",
        fold="Training",
        names=("wide", "depth_densified", "wide_intrinsics", "color.traj"),
        sky="Up",
        **LENS,
    )
    for path in (folder / "40753679_frames" / "depth_densified").iterdir():
        image = Image.open(path)
        image.resize((64, 48), Image.Resampling.NEAREST).save(path)
    write_scan(tmp_path, solids[:5], poses[:3], **LENS)
    source = ARKitScenes(tmp_path)
    assert (
        source.scenes() == ["40753679", SCAN]
        and source.scenes("train") == ["40753679"]
        and source.scenes("val") == [SCAN]
    )
    frame = source.load("40753679").frames[0]
    assert (frame.color.width, frame.depth.width, frame.depth.height) == (
        128,
        64,
        48,
    ) and frame.read_depth().shape == (48, 64)
    assert np.allclose(
        frame.depth.to_permille(frame.depth.project(np.array([0.2, 0.1, 1]))[0]),
        frame.color.to_permille(frame.color.project(np.array([0.2, 0.1, 1]))[0]),
    )
    for root in (tmp_path / "3dod", tmp_path / "3dod" / "Training"):
        assert (
            "40753679" in ARKitScenes(root).scenes()
            and ARKitScenes(root).load("40753679").name == "40753679"
        )
    assert (
        ARKitScenes(folder).scenes() == ["40753679"]
        and ARKitScenes(folder).scenes("val") == []
        and ARKitScenes(tmp_path / "3dod" / "Training").scenes("val") == []
    )
    assert ARKitScenes(tmp_path, count=1).scenes() == ["40753679"] and source.describe() == {
        "kind": "arkitscenes",
        "scans": 2,
        "count": None,
        "frames": None,
        "split": "Training and Validation",
    }
    scene = pickle.loads(pickle.dumps(ARKitScenes(tmp_path, frames=2))).load(SCAN)
    assert len(scene.frames) == 2 and np.array_equal(
        pickle.loads(pickle.dumps(scene.frames[0])).read_depth(), scene.frames[0].read_depth()
    )
    assert open_source(f"arkitscenes:{tmp_path}", scenes=3, frames=4) == ARKitScenes(tmp_path, 3, 4)


def test_what_is_said_of_folders_without_scans(tmp_path):
    assert "no ARKitScenes scan here" in complaint(
        ARKitScenes(tmp_path).scenes
    ) and "no such folder" in complaint(ARKitScenes(tmp_path / "x").scenes)
    (tmp_path / "Training" / "47331606").mkdir(parents=True)
    (tmp_path / "Training" / "..47").mkdir()
    assert ARKitScenes(tmp_path).scenes() == [
        "47331606"
    ] and "47331606_3dod_annotation.json: the file is missing" in complaint(
        ARKitScenes(tmp_path).load, "47331606"
    )
    for name in ("47331607", "../x", "..47", ""):
        assert "no scan" in complaint(ARKitScenes(tmp_path).load, name)
    with pytest.raises(ValueError, match="train or val"):
        ARKitScenes(tmp_path).scenes("test")


def test_thousands_of_scans_are_listed_by_their_names(tmp_path):
    for k in range(1500):
        (
            tmp_path / "3dod" / ("Validation" if k % 9 == 0 else "Training") / str(41000000 + k)
        ).mkdir(parents=True)
    assert (
        len(ARKitScenes(tmp_path).scenes()) == 1500
        and len(ARKitScenes(tmp_path).scenes("val")) == 167
    )


def test_a_summary_reads_neither_mesh_nor_images(copy):
    for path in [*copy.rglob("*.png"), *copy.rglob("*.ply")]:
        path.write_bytes(b"")
    told = ARKitScenes(copy).summary(SCAN)
    assert (told.frames, told.valid, told.instances, told.area) == (
        10,
        8,
        20,
        None,
    ) and told.warnings == ("2 x frame has no pose within 5 ms",)


def test_links_are_followed(tmp_path, dataset):
    (tmp_path / "3dod").mkdir()
    os.symlink(dataset / "3dod" / "Validation", tmp_path / "3dod" / "Validation")
    assert len(ARKitScenes(tmp_path).load(SCAN).frames) == 8


# ----------------------------------------------------------------------------------------------
# faults


def test_each_missing_or_cut_file_is_named(copy):
    frames = copy / f"{SCAN}_frames"
    for path, words in (
        (copy / f"{SCAN}_3dod_annotation.json", "not JSON"),
        (copy / f"{SCAN}_3dod_mesh.ply", "rows announced"),
        (frames / "lowres_wide.traj", "no line is a pose"),
    ):
        data = path.read_bytes()
        path.unlink()
        assert f"{path.name}: the file is missing" in complaint(reload, copy)
        path.write_bytes(data[: len(data) // 2 if path.suffix != ".traj" else 30])
        assert path.name in complaint(reload, copy) and words in complaint(reload, copy)
        path.write_bytes(data)
    for name, words in (
        ("lowres_depth", "no image has depth"),
        ("lowres_wide_intrinsics", "no image has depth"),
        ("lowres_wide", "no image here"),
    ):
        (frames / name).rename(frames / "away")
        assert words in complaint(reload, copy)
        (frames / "away").rename(frames / name)


def test_each_missing_part_of_a_frame_is_counted(copy):
    for name, words in (
        ("lowres_depth", "its depth image is missing"),
        ("lowres_wide_intrinsics", "its .pincam is missing"),
    ):
        path = sorted((copy / f"{SCAN}_frames" / name).iterdir())[0]
        data = path.read_bytes()
        path.unlink()
        scene = reload(copy)
        assert scene.skipped[f"frame: {words}"] == 1 and len(scene.frames) == 7
        path.write_bytes(data)


def test_images_of_another_size_or_cut_are_named_when_read(copy):
    scene = reload(copy)
    color, depth = (
        sorted((copy / f"{SCAN}_frames" / name).iterdir())[0]
        for name in ("lowres_wide", "lowres_depth")
    )
    for path, read in ((color, scene.frames[0].read_color), (depth, scene.frames[0].read_depth)):
        data = path.read_bytes()
        for broken, words in (
            (data[: len(data) // 2], "damaged"),
            (b"", "not a"),
            (png(np.zeros((3, 4), np.uint16)), "4x3 where 128x96"),
        ):
            path.write_bytes(broken)
            assert words in complaint(read) and path.name in complaint(read)
        path.unlink()
        assert "missing" in complaint(read)
    depth.write_bytes(png(np.zeros((96, 128), np.uint8)))
    assert "8 bit" in complaint(scene.frames[0].read_depth)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("128 96 100 100 60", "5 numbers"),
        ("128 96 a 100 60 40", "not a number"),
        ("128 96 nan 100 60 40", "all finite"),
        ("128 96 0 100 60 40", "no camera"),
        ("0 96 100 100 60 40", "no camera"),
        ("128 96 100 100 600 40", "no camera"),
        ("1e9 1e9 100 100 60 40", "no camera"),
        ("128.5 96 100 100 60 40", "no camera"),
        ("-128 -96 100 100 60 40", "no camera"),
        ("", "0 numbers"),
        ("128 96 1e9 100 60 40", "no camera"),
    ],
)
def test_bad_cameras_are_left_out(copy, text, words):
    path = sorted((copy / f"{SCAN}_frames" / "lowres_wide_intrinsics").iterdir())[0]
    path.write_text(text)
    assert (
        words in complaint(read_pincam, path)
        and reload(copy).skipped["frame: its .pincam is damaged"] == 1
    )


def test_all_cameras_bad(copy):
    for path in (copy / f"{SCAN}_frames" / "lowres_wide_intrinsics").iterdir():
        path.write_text("x")
    assert "every .pincam is damaged" in complaint(reload, copy)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("6790.125 nan 0 0 0 0 0", "not finite"),
        ("6790.125 0 0 0 0 0", "not seven"),
        ("6790.125 0 0 0 inf 0 0", "not finite"),
        ("6790.125 0 0 0 1e6 0 0", "absurd"),
        ("6790.125 99 0 0 0 0 0", "absurd"),
        ("x 0 0 0 0 0 0", "not seven"),
        ("\x00\xff", "not seven"),
    ],
)
def test_bad_poses_are_counted_and_their_frame_is_left_out(copy, line, words):
    path = copy / f"{SCAN}_frames" / "lowres_wide.traj"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([line, *lines[1:]]))
    scene = reload(copy)
    assert (
        len(scene.frames) == 7
        and scene.skipped["expected: frame has no pose within 5 ms"] == 3
        and any(words in why and n == 1 for why, n in scene.skipped.items())
    )


@pytest.mark.parametrize("late", [0.0049, -0.0049, 0.0051, -0.0051])
def test_a_pose_counts_within_five_milliseconds(copy, late):
    path = copy / f"{SCAN}_frames" / "lowres_wide.traj"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([f"{6790.123 + late:.6f} " + lines[0].partition(" ")[2], *lines[1:]]))
    assert len(reload(copy).frames) == (8 if abs(late) < 0.005 else 7)


def change(folder: Path, edit) -> None:
    path = folder / f"{SCAN}_3dod_annotation.json"
    content = json.loads(path.read_bytes())
    edit(content)
    path.write_text(json.dumps(content))


def box(content, k=0):
    return content["data"][k]["segments"]["obbAligned"]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda c: c["data"].__setitem__(0, 7), "has no label"),
        (lambda c: c["data"][0].update(label=" "), "has no label"),
        (lambda c: c["data"][0].update(label=None), "has no label"),
        (lambda c: c["data"][0].pop("segments"), "obbAligned is damaged"),
        (lambda c: c["data"][0].update(segments=[]), "obbAligned is damaged"),
        (lambda c: box(c).update(centroid=[1, 2]), "obbAligned is damaged"),
        (lambda c: box(c).update(centroid=[1, 2, None]), "obbAligned is damaged"),
        (lambda c: box(c).update(normalizedAxes=[1, 0, 0]), "obbAligned is damaged"),
        (lambda c: box(c).update(normalizedAxes=[1] * 9), "not orthonormal"),
        (lambda c: box(c).update(axesLengths=[1, 1, -1]), "absurd"),
        (lambda c: box(c).update(axesLengths=[1, 1, 0]), "absurd"),
        (lambda c: box(c).update(axesLengths=[1, 1, 1e9]), "absurd"),
        (lambda c: box(c).update(centroid=[1e300, 0, 0]), "absurd"),
        (lambda c: c["data"][1].update(uid=c["data"][0]["uid"]), "uid occurs twice"),
        (lambda c: box(c).update(centroid=[90, 90, 90]), "nothing in its box"),
    ],
)
def test_bad_objects_are_counted_and_the_rest_is_read(copy, edit, words):
    change(copy, edit)
    scene = reload(copy)
    assert len(scene.instances) == 19 and any(
        why.startswith("object: ") and words in why and n == 1 for why, n in scene.skipped.items()
    ), scene.skipped


def test_rows_of_axes_may_be_nested(copy, loaded):
    change(
        copy,
        lambda c: box(c).update(
            normalizedAxes=np.reshape(box(c)["normalizedAxes"], (3, 3)).tolist()
        ),
    )
    assert np.allclose(reload(copy).instances[0].box.corners, loaded.instances[0].box.corners)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda c: c.update(skipped=True), "skipped this scan"),
        (lambda c: c.pop("data"), "data: expected a list"),
        (lambda c: c.update(data={}), "expected a list"),
        (lambda c: c.update(data=[]), "no annotated object"),
    ],
)
def test_unannotated_scans_are_named(copy, edit, words):
    change(copy, edit)
    assert words in complaint(reload, copy) and "annotation.json" in complaint(reload, copy)


def test_vertices_that_are_not_finite_go_with_their_triangles(copy, loaded):
    path = copy / f"{SCAN}_3dod_mesh.ply"
    data = bytearray(path.read_bytes())
    start = data.index(b"end_header\n") + 11
    data[start : start + 4] = np.float32(np.nan).tobytes()
    path.write_bytes(bytes(data))
    scene = reload(copy)
    assert scene.skipped["vertex: not finite"] == 1 and len(loaded.surface.triangles) - 8 < len(
        scene.surface.triangles
    ) < len(loaded.surface.triangles)
    assert np.isfinite(scene.surface.vertices).all()


# ----------------------------------------------------------------------------------------------
# fuzz, questions


@FUZZ
@given(data=st.data())
def test_fuzz_of_the_text_files(tmp_path_factory, dataset, data):
    folder = tmp_path_factory.mktemp("fuzz")
    scan = dataset / "3dod" / "Validation" / SCAN
    sources = {
        "a.json": (scan / f"{SCAN}_3dod_annotation.json", read_objects),
        "a.traj": (scan / f"{SCAN}_frames" / "lowres_wide.traj", read_trajectory),
        "a.pincam": (
            next((scan / f"{SCAN}_frames" / "lowres_wide_intrinsics").iterdir()),
            read_pincam,
        ),
    }
    for name, (path, read) in sources.items():
        text = bytearray(
            path.read_bytes()[: data.draw(st.integers(0, 2000))]
            if data.draw(st.booleans())
            else path.read_bytes()
        )
        for _ in range(data.draw(st.integers(0, 4))):
            at = data.draw(st.integers(0, max(0, len(text) - 1)))
            text[at : at + data.draw(st.integers(0, 6))] = data.draw(
                st.one_of(
                    st.binary(max_size=5),
                    st.sampled_from(
                        [b"null", b"1e400", b"-0", b"[[[[", b"nan", b"\xff", b"{}", b"99999999999"]
                    ),
                )
            )
        (folder / name).write_bytes(bytes(text))
        try:
            result = read(folder / name)
            if name == "a.traj":
                assert (
                    np.isfinite(result[1]).all()
                    and np.allclose(np.linalg.det(result[1][:, :3, :3]), 1)
                    and (np.diff(result[0]) > 0).all()
                )
            if name == "a.json":
                assert all(np.isfinite(i.box.corners).all() and i.label for i in result[0])
        except SceneError as error:
            assert name in str(error)


def test_questions_are_confirmed(tmp_path, solids):
    """All tasks but nav, from a scan with enough images for a video."""
    write_scan(tmp_path / "data", solids, list(walk_round(33)), fold="Training", **LENS)
    generate(
        open_source(f"arkitscenes:{tmp_path / 'data'}"),
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
    asked = {k for k, t in report.tasks.items() if t.checked}
    assert {"position_matching", "view_change_infer"} <= asked
    assert "room_size" not in asked, "one wall does not enclose a floor"


def test_a_scan_without_questions_says_why(tmp_path, solids, poses):
    write_scan(tmp_path / "data", solids[:4], poses[:3], fold="Training", **LENS)
    made = generate(
        open_source(f"arkitscenes:{tmp_path / 'data'}"),
        tmp_path / "out",
        per_task=2,
        progress=False,
    )
    assert (
        made.records == 0
        and f"1 scene without any question, such as {SCAN} with 3 frames and 2 objects: only frames that clearly show 3 or more are asked about"  # noqa: E501
        in str(made)
    )
