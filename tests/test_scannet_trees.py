"""One room in every shape in which ScanNet is kept, written by an exporter that shares nothing with
the reader, and read back."""

import shutil
import zipfile
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from exporters.scannet_trees import (
    FORMS,
    text,
    write_flat,
    write_folders,
    write_label_table,
    write_room,
    write_stream,
    write_text,
)
from PIL import Image
from toys import Toys, busy_room, complaint

from spar_kit.data.generate import generate
from spar_kit.data.records import decode_record, load_images, read_records
from spar_kit.data.scene_job import GenerationConfig, build_records
from spar_kit.oracle.verify import verify
from spar_kit.report.scene_report import scene_page
from spar_kit.scenes.box_room import BoxObject, raycast_boxes
from spar_kit.scenes.frame_selection import FrameSelection
from spar_kit.scenes.readers.scannet.labels import list_archive
from spar_kit.scenes.readers.scannet.reader import ScanNet, find_frames
from spar_kit.scenes.readers.scannet.sens import open_sens
from spar_kit.scenes.scene import Scene, SceneError
from spar_kit.scenes.visibility import Visibility, compute_visibility

NAME = "scene0042_01"
TURN = np.radians(35)
ALIGNMENT = np.array(
    [
        [np.cos(TURN), -np.sin(TURN), 0, 1.5],
        [np.sin(TURN), np.cos(TURN), 0, -2],
        [0, 0, 1, -0.3],
        [0, 0, 0, 1],
    ]
)
TASKS = (
    "depth_prediction_oc",
    "distance_prediction_oo_mv",
    "position_matching",
    "camera_motion_infer",
    "view_change_infer",
    "obj_spatial_relation_oo",
    "spatial_imagination_oc",
    "obj_frame_locate",
    "appearance_order",
)


@dataclass(frozen=True)
class Known(Scene):
    """A scene that also knows the ids as its color camera sees them."""

    masks: tuple[np.ndarray, ...] = ()

    def color_ids(self, frame) -> np.ndarray:
        return self.masks[[f.index for f in self.frames].index(frame.index)]


def still(array):
    return array


def known(scene: Scene) -> Known:
    """The same scene with its images drawn once: the color of each pixel is a shade of its
    object's number."""
    solids = [
        BoxObject(i.id, i.label, i.box, (250 - 9 * i.id, 9 * i.id, 90)) for i in scene.instances
    ]
    frames = []
    masks = []
    for f in scene.frames:
        _, mask, color = raycast_boxes(solids, f.color, f.camera_to_world)
        depth, ids, _ = raycast_boxes(solids, f.depth, f.camera_to_world)
        frames.append(
            replace(
                f,
                read_color=partial(still, color),
                read_depth=partial(still, depth),
                read_instances=partial(still, ids),
            )
        )
        masks.append(mask)
    return Known(
        **{f.name: getattr(scene, f.name) for f in fields(Scene) if f.name != "frames"},
        frames=tuple(frames),
        masks=tuple(masks),
    )


def first(room: Known, count: int) -> Known:
    return replace(room, frames=room.frames[:count], masks=room.masks[:count])


def faults_of(entry: dict) -> dict:
    """What a manifest says was skipped of a scene, without objects that no frame shows whole: these
    are no damage."""
    return {why: n for why, n in entry["skipped"].items() if "no frame shows it whole" not in why}


@pytest.fixture(scope="module")
def room() -> Known:
    scene = busy_room(NAME)
    return known(scene.with_frames(scene.frames[:34]))


@pytest.fixture(scope="module")
def datasets(room, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("forms")
    return {
        form: write_room(
            folder / form.replace(" ", "_"),
            room,
            form,
            alignment=ALIGNMENT,
            instance_zip="filt" if "stream" in form else None,
        )
        for form in FORMS
    }


def to_surface(points: np.ndarray, room: Scene) -> np.ndarray:
    """Distance of points (N, 3) to the nearest face of the room's boxes, in closed form."""
    best = np.full(len(points), np.inf)
    for i in room.instances:
        q = np.abs((points - i.box.center) @ i.box.axes) - i.box.size / 2
        best = np.minimum(
            best, np.abs(np.linalg.norm(np.maximum(q, 0), axis=1) + np.minimum(q.max(1), 0))
        )
    return best


def differences(
    scene: Scene, room: Known, every: int = 4, truth: Visibility | None = None
) -> list[str]:
    """In what a scene that was read differs from the room that was written; `all_of` frame is
    opened. `truth`: the room's own visibility table."""
    found = []
    if [(i.id, i.label) for i in scene.instances] != [(i.id, i.label) for i in room.instances]:
        return ["other objects"]
    if len(scene.frames) != len(room.frames):
        return ["other frames"]
    if (
        max(
            np.abs(a.box.center - b.box.center).max()
            for a, b in zip(scene.instances, room.instances)
        )
        > 1e-3
    ):
        found.append("centres")
    table = compute_visibility(scene, width=120)
    truth = truth or compute_visibility(room, width=120)
    if [(int(f), int(i)) for f, i, v in zip(table.frame, table.instance, table.visible) if v] != [
        (int(f), int(i)) for f, i, v in zip(truth.frame, truth.instance, truth.visible) if v
    ]:
        found.append("visible sets")
    for frame, made in list(zip(scene.frames, room.frames))[::every]:
        depth = frame.read_depth()
        points = (
            frame.depth.back_project(depth) @ frame.camera_to_world[:3, :3].T
            + frame.camera_to_world[:3, 3]
        )[depth > 0][::7]
        if np.median(to_surface(points, room)) > 0.01:
            found.append("depth")
        if np.abs(frame.read_color().astype(int) - made.read_color()).mean() > 6:
            found.append("colour")
        if frame.read_instances is not None:
            ids = frame.read_instances()
            due = made.read_instances()
            # edges; the depth camera sees a little more
            if (ids != due)[ids > 0].mean() > 0.03 or (ids > 0).sum() < 0.8 * (due > 0).sum():
                found.append("instances")
    return sorted(set(found))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_comes_back(datasets, room, form):
    scene = ScanNet(root=datasets[form]).load(NAME)
    assert (
        differences(scene, room) == []
        and scene.skipped == {}
        and scene.room_type == "Bedroom / Hotel"
    )
    for frame, made in zip(scene.frames, room.frames, strict=True):
        assert frame.index == made.index and np.allclose(
            frame.camera_to_world, made.camera_to_world, atol=3e-6
        )
        for a, b in ((frame.color, made.color), (frame.depth, made.depth)):
            assert (a.width, a.height) == (b.width, b.height) and np.allclose(
                a.intrinsics, b.intrinsics, atol=1e-4
            )
    assert all(
        (frame.read_instances is not None) == ("stream" in form or form == "frames_25k")
        for frame in scene.frames
    )
    assert all((frame.color_file is None) == ("stream" in form) for frame in scene.frames)
    assert scene.frames[0].encoding == (".png" if form == "stream png" else ".jpg")


def test_every_form_gives_the_same_questions_and_answers(datasets, room):
    plan = GenerationConfig(source=Toys(), split="train", tasks=TASKS, per_task=3, width=160)
    said = lambda scene: [  # noqa: E731
        decode_record(line)["conversations"] for line in build_records(plan, scene)[1]
    ]  # noqa: E731, RUF100
    due = said(room)
    assert len(due) > 40
    for form in FORMS:
        assert said(ScanNet(root=datasets[form]).load(NAME)) == due, form


MIRRORS = {
    f"{side} {axis}": (side, np.diag([-1.0 if k == n else 1.0 for k in range(4)]))
    for n, axis in enumerate("xyz")
    for side in ("camera", "world")
}


def mutants(scene: Scene) -> dict[str, Scene]:
    """The same scene with one convention broken."""

    def moved(pose) -> Scene:
        return scene.with_frames(
            [replace(f, camera_to_world=pose(f.camera_to_world)) for f in scene.frames]
        )

    def with_depth(change) -> Scene:
        return scene.with_frames([replace(f, read_depth=partial(change, f)) for f in scene.frames])

    turned = np.eye(4)[[1, 0, 2, 3]]
    out = {
        name: moved((lambda p, M=M: p @ M) if side == "camera" else (lambda p, M=M: M @ p))
        for name, (side, M) in MIRRORS.items()
    }
    return out | {
        "poses world to camera": moved(np.linalg.inv),
        "rotations transposed": moved(lambda p: np.block([[p[:3, :3].T, p[:3, 3:]], [p[3:]]])),
        "not aligned": moved(lambda p: np.linalg.inv(ALIGNMENT) @ p),
        "aligned twice": moved(lambda p: ALIGNMENT @ p),
        "x and y of the camera exchanged": moved(lambda p: p @ turned),
        "OpenGL cameras": moved(lambda p: p @ np.diag([1.0, -1, -1, 1])),
        "depth along the ray": with_depth(
            lambda f: (
                f.read_depth()
                / np.linalg.norm(
                    f.depth.back_project(np.ones((f.depth.height, f.depth.width))), axis=-1
                )
            )
        ),
        "depth upside down": with_depth(lambda f: f.read_depth()[::-1]),
        "depth mirrored": with_depth(lambda f: f.read_depth()[:, ::-1]),
        "depth in other units": with_depth(lambda f: f.read_depth() * 1.024),
        "the colour camera for depth": scene.with_frames(
            [replace(f, depth=f.color.resized(f.depth.width, f.depth.height)) for f in scene.frames]
        ),
        "the depth camera for colour": scene.with_frames(
            [replace(f, color=f.depth.resized(f.color.width, f.color.height)) for f in scene.frames]
        ),
        "frames in another order": scene.with_frames(
            [
                replace(f, camera_to_world=g.camera_to_world)
                for f, g in zip(scene.frames, scene.frames[::-1])
            ]
        ),
        "boxes by corner": replace(
            scene,
            instances=tuple(
                replace(i, box=replace(i.box, center=i.box.center - i.box.size / 2))
                for i in scene.instances
            ),
        ),
    }


def test_no_broken_convention_passes(datasets, room):
    few = first(room, 6)
    truth = compute_visibility(few, width=120)
    scene = ScanNet(root=datasets["posed_images"]).load(NAME)
    scene = scene.with_frames(scene.frames[:6])
    assert differences(scene, few, 3, truth) == []
    for name, mutant in mutants(scene).items():
        assert differences(mutant, few, 3, truth), f"{name}: nothing noticed"


# ----------------------------------------------------------------------------------------------
# what belongs to one form


@pytest.fixture(scope="module")
def small() -> Known:
    scene = busy_room(NAME)
    return known(scene.with_frames(scene.frames[::8]))  # frames 0, 8, 16, 24, 32


def test_a_stream_with_extrinsics_says_that_they_are_not_applied(tmp_path, small):
    write_room(tmp_path, small, "stream")
    E = np.eye(4)
    E[0, 3] = 0.05
    write_stream(
        tmp_path / "scans" / NAME / f"{NAME}.sens",
        small,
        {f.index: f.camera_to_world for f in small.frames},
        extrinsic=E,
    )
    scene = ScanNet(root=tmp_path).load(NAME)
    assert scene.skipped == {
        "expected: extrinsics of the recording, not applied": 1,
        "frame: pose is not finite": 28,
    }
    assert differences(replace(scene, skipped={}), small, 1) == []


@pytest.mark.parametrize("form", ["sensreader", "frames_25k", "posed_images"])
def test_resized_images_keep_their_depth_and_boxes(tmp_path, small, form):
    """Colour was halved by whoever exported it, the matrices still speak of the recorded size."""
    write_room(tmp_path, small, form, alignment=ALIGNMENT)
    native = small.frames[0].color.resized(480, 360), small.frames[0].depth
    write_text(tmp_path / "scans" / NAME / f"{NAME}.txt", small, ALIGNMENT, native)
    place = {
        "sensreader": "scans/{}/intrinsic/intrinsic_color.txt",
        "frames_25k": "scannet_frames_25k/{}/intrinsics_color.txt",
        "posed_images": "posed_images/{}/intrinsic.txt",
    }[form]
    matrix = np.eye(4)
    matrix[:3, :3] = native[0].intrinsics
    (tmp_path / place.format(NAME)).write_text(text(matrix))
    scene = ScanNet(root=tmp_path).load(NAME)
    assert (
        np.allclose(scene.frames[0].color.intrinsics, small.frames[0].color.intrinsics, atol=1e-4)
        and differences(scene, small, 1) == []
    )
    # the scan's text file has the numbers too
    (tmp_path / place.format(NAME)).unlink()
    assert differences(ScanNet(root=tmp_path).load(NAME), small, 1) == []
    (tmp_path / "scans" / NAME / f"{NAME}.txt").write_text("sceneType = Office\n")
    message = complaint(ScanNet(root=tmp_path).load, NAME)
    assert "intrinsic" in message and "missing" in message
    (tmp_path / place.format(NAME)).write_text(text(matrix))
    assert "does not belong to images of 240x180" in complaint(ScanNet(root=tmp_path).load, NAME)


def test_the_stream_wins_and_then_the_tree_with_most_poses(tmp_path, small):
    write_room(tmp_path, small, "frames_25k")
    poses = {f.index: f.camera_to_world for f in small.frames}
    few = first(small, 2)
    write_flat(tmp_path / "posed_images" / NAME, few, poses)
    home = tmp_path / "scans" / NAME
    assert find_frames(home, NAME).folder.parent.name == "scannet_frames_25k"
    write_folders(home, small, poses, name="{}", inside="intrinsic/")
    assert find_frames(home, NAME).folder == home
    write_stream(home / f"{NAME}.sens", few, poses)
    assert find_frames(home, NAME) == home / f"{NAME}.sens"


def test_label_table(tmp_path, small):
    write_room(tmp_path, small, "sensreader")
    for labels in ("category", "nyu40"):
        assert "scannetv2-labels.combined.tsv" in complaint(
            ScanNet(root=tmp_path, labels=labels).load, NAME
        )
    write_label_table(
        tmp_path,
        [
            ("chair", "seat", 5, "chair"),
            ("Lamp", "lamp", 35, "lamp"),
            ("sofa", "couch", 6, "sofa"),
            ("chair", "twice", 1, "wall"),
            ("monitor", "monitor", 40, "otherprop"),
        ],
    )
    raw, category, nyu = (
        ScanNet(root=tmp_path, labels=labels).load(NAME) for labels in ("raw", "category", "nyu40")
    )
    was = {i.id: i.label for i in raw.instances}
    assert raw.skipped == {} and {was[i.id]: i.label for i in category.instances} == {
        label: {"chair": "seat", "sofa": "couch"}.get(label, label) for label in was.values()
    }
    assert {was[i.id]: i.label for i in nyu.instances}["monitor"] == "otherprop"
    unknown = sum(label not in ("chair", "lamp", "sofa", "monitor") for label in was.values())
    assert nyu.skipped == category.skipped == {"expected: label is not in the table": unknown}
    with pytest.raises(ValueError, match="raw, category, nyu40"):
        ScanNet(root=tmp_path, labels="nyu")
    (tmp_path / "scannetv2-labels.combined.tsv").write_text("id\traw_category\n1\tchair\n")
    assert "line 1: no column category" in complaint(
        ScanNet(root=tmp_path, labels="category").load, NAME
    )
    assert ScanNet(root=tmp_path, labels="nyu40").describe()["labels"] == "nyu40"


# ----------------------------------------------------------------------------------------------
# faults of trees


@pytest.fixture(scope="module")
def trees(tmp_path_factory, small) -> Path:
    folder = tmp_path_factory.mktemp("trees")
    for form in ("sensreader", "posed_images", "frames_25k"):
        write_room(folder / form, small, form, alignment=ALIGNMENT)
    return folder


@pytest.fixture
def tree(tmp_path, trees):
    """A copy of one form, to be damaged: (dataset, where its frames are, how a frame's file is
    named)."""

    def copy(form):
        root = Path(shutil.copytree(trees / form, tmp_path / form))
        if form == "posed_images":
            home = root / "posed_images" / NAME
            return (
                root,
                home,
                lambda part, k: (
                    home / f"{k:05d}{ {'color': '.jpg', 'depth': '.png', 'pose': '.txt'}[part] }"
                ),
            )
        home = root / "scans" / NAME if form == "sensreader" else root / "scannet_frames_25k" / NAME
        stem = "{}" if form == "sensreader" else "{:06d}"
        return (
            root,
            home,
            lambda part, k: (
                home
                / part
                / f"{stem.format(k)}{ {'color': '.jpg', 'depth': '.png', 'pose': '.txt'}[part] }"
            ),
        )

    return copy


@pytest.mark.parametrize("form", ["sensreader", "posed_images", "frames_25k"])
def test_each_missing_or_damaged_file_of_a_tree_is_counted_or_named(tree, form):
    root, home, path = tree(form)
    source = ScanNet(root=root)
    for part, k in (("color", 0), ("depth", 8), ("pose", 16)):
        path(part, k).unlink()
    scene = source.load(NAME)
    assert [f.index for f in scene.frames] == [24, 32] and scene.skipped == {
        f"frame: its {what} is missing": 1 for what in ("colour image", "depth image", "pose")
    }
    for content, why in (
        ("1 2 3", "pose file is damaged"),
        ("", "pose file is damaged"),
        ("x " * 16, "pose file is damaged"),
        ("-inf " * 16, "pose is not finite"),
        ("-1.#INF " * 16, "pose is not finite"),
        ("2 " * 16, "pose is not rigid"),
        ("1e300 " * 16, "pose is not rigid"),
        ("1 0 0 0 0 1 0 1e30 0 0 1 0 0 0 0 1", "pose is absurd"),
        ("9" * 70_000, "pose file is damaged"),
    ):
        path("pose", 24).write_text(content)
        scene = source.load(NAME)
        assert [f.index for f in scene.frames] == [32] and scene.skipped[f"frame: {why}"] == 1, (
            content[:20]
        )
    path("pose", 32).write_text("-inf " * 16)
    assert "none of" in complaint(source.load, NAME) and str(home) in complaint(source.load, NAME)
    for file in home.rglob("*.txt"):
        if "intrinsic" not in file.name and file.name != f"{NAME}.txt":
            file.unlink()
    assert "exported frames" in complaint(source.load, NAME)


@pytest.mark.parametrize("form", ["sensreader", "posed_images", "frames_25k"])
def test_matrices_of_a_tree_that_are_no_cameras_are_named(tree, form):
    root, home, _ = tree(form)
    files = sorted(
        file
        for file in home.rglob("*intrinsic*_*.txt" if form != "posed_images" else "*intrinsic.txt")
    )
    files = [file for file in files if "extrinsic" not in file.name]
    assert len(files) == 2
    for file in files:
        whole = file.read_text()
        for content, words in (
            ("", "0 numbers"),
            ("1 2", "2 numbers"),
            ("nan " * 16, "no camera matrix"),
            ("0 " * 16, "no camera matrix"),
            (whole.replace(" ", " x", 1), "not a number"),
            (text(np.diag([-100.0, 100, 1, 1])), "no camera matrix"),
            (text(np.diag([100.0, 100, 1, 1])), "principal point"),
        ):
            file.write_text(content)
            message = complaint(ScanNet(root=root).load, NAME)
            assert words in message and str(file) in message, message
        file.write_text(whole)
    assert ScanNet(root=root).load(NAME).skipped == {}


@pytest.mark.parametrize("form", ["sensreader", "posed_images"])
def test_damaged_images_of_a_tree_are_named_when_read_and_cost_their_frame(tree, form, tmp_path):
    root, home, path = tree(form)
    scene = ScanNet(root=root).load(NAME)
    frame = scene.frames[1]
    color = path("color", 8)
    depth = path("depth", 8)
    whole = color.read_bytes(), depth.read_bytes()

    def put(file, image, kind):
        image.save(file, kind)

    for damage, read, words in (
        (lambda: color.write_bytes(whole[0][:2000]), frame.read_color, "damaged JPEG"),
        (lambda: color.write_bytes(b""), frame.read_encoded, "not a JPEG or PNG"),
        (
            lambda: put(color, Image.new("RGB", (241, 180)), "JPEG"),
            frame.read_encoded,
            "241x180 where 240x180",
        ),
        (lambda: put(color, Image.new("1", (9000, 9000)), "PNG"), frame.read_color, "9000x9000"),
        (lambda: depth.write_bytes(whole[1][:-40]), frame.read_depth, "damaged PNG"),
        (lambda: depth.write_bytes(whole[0]), frame.read_depth, "not a PNG"),
        (
            lambda: put(depth, Image.new("I;16", (80, 60)), "PNG"),
            frame.read_depth,
            "80x60 where 160x120",
        ),
        (lambda: put(depth, Image.new("L", (160, 120)), "PNG"), frame.read_depth, "8 bit"),
        (lambda: put(depth, Image.new("RGB", (160, 120)), "PNG"), frame.read_depth, "RGB"),
        (lambda: depth.unlink(), frame.read_depth, "missing"),
        (lambda: depth.mkdir(), frame.read_depth, "not a file"),
    ):
        damage()
        message = complaint(read)
        assert words in message and str(home) in message, message
    depth.rmdir()
    color.write_bytes(whole[0][:2000])
    depth.write_bytes(whole[1])
    made = generate(
        ScanNet(root=root),
        tmp_path / "data",
        tasks="depth_prediction_oc,obj_spatial_relation_oo",
        per_task=6,
        progress=False,
        width=160,
    )
    entry = made.content["scenes"][NAME]
    assert (
        faults_of(entry) == {"frame: its image cannot be read": 1}
        and entry["frames_seen"] == 4
        and made.records > 10
    )
    assert (
        len(entry["unreadable"]) == 1
        and "frame 8 colour" in entry["unreadable"][0]
        and "cannot be read" in str(made)
    )
    assert not list((tmp_path / "data").rglob("8.jpg")) and not list(
        (tmp_path / "data").rglob("image_depth/8.png")
    )
    with pytest.raises(SceneError, match="frame: its image cannot be read.*frame 8 colour"):
        generate(
            ScanNet(root=root),
            tmp_path / "strict",
            tasks="depth_prediction_oc,obj_spatial_relation_oo",
            per_task=6,
            progress=False,
            width=160,
            strict=True,
        )
    # a finished folder is not silently accepted either
    with pytest.raises(SceneError, match="1 x frame: its image cannot be read"):
        generate(
            ScanNet(root=root),
            tmp_path / "data",
            tasks="depth_prediction_oc,obj_spatial_relation_oo",
            per_task=6,
            progress=False,
            width=160,
            strict=True,
        )


def test_damaged_payloads_of_a_stream_cost_their_frames(tmp_path, small):
    write_room(tmp_path, small, "stream")
    path = tmp_path / "scans" / NAME / f"{NAME}.sens"
    data = bytearray(path.read_bytes())
    payload = open_sens(path).payload
    at, color, depth = (int(n) for n in payload[8])
    # the picture of frame 8 ends early
    data[at + color // 2 : at + color] = bytes(color - color // 2)
    at, color, depth = (int(n) for n in payload[24])
    # the depth of frame 24 is no zlib stream
    data[at + color : at + color + depth] = b"\x78\x9c" + bytes(depth - 2)
    path.write_bytes(bytes(data))
    options = {
        "tasks": "depth_prediction_oc,distance_prediction_oo",
        "per_task": 12,
        "progress": False,
        "width": 160,
    }
    made = generate(ScanNet(root=tmp_path), tmp_path / "data", **options)
    entry = made.content["scenes"][NAME]
    assert (
        faults_of(entry) == {"frame: its image cannot be read": 2, "frame: pose is not finite": 28}
        and made.records > 10
    )
    assert sorted(why.split(": ")[0] for why in entry["unreadable"]) == [
        "frame 8 colour",
        f"{NAME}/{NAME}.sens",
    ]
    assert verify(tmp_path / "data").ok
    with pytest.raises(SceneError, match=NAME):
        generate(ScanNet(root=tmp_path), tmp_path / "strict", strict=True, **options)


def test_the_choice_of_frames_and_kept_visibility_are_recorded_or_decide_nothing(tree, tmp_path):
    root, _, _ = tree("posed_images")
    options = {"tasks": "depth_prediction_oc", "per_task": 6, "progress": False, "width": 160}
    made = [
        generate(
            ScanNet(root=root),
            tmp_path / name,
            frames_per_scene=FrameSelection(limit=3, stride=16, blur=0.1),
            cache=tmp_path / "kept",
            **options,
        )
        for name in "ab"
    ]
    assert (tmp_path / "kept" / "scannet" / f"{NAME}.npz").is_file()
    assert (tmp_path / "a" / "manifest.json").read_bytes() == (
        tmp_path / "b" / "manifest.json"
    ).read_bytes() and str(tmp_path) not in (tmp_path / "a/manifest.json").read_text()
    parameters = made[0].content["parameters"]
    entry = made[0].content["scenes"][NAME]
    assert (parameters["frames_per_scene"], parameters["frame_choice"], parameters["images"]) == (
        3,
        {"stride": 16, "blur": 0.1},
        "copy",
    )
    assert entry["frames_found"] == 5 and entry["frames_seen"] == 3
    with pytest.raises(ValueError, match="frame_choice"):
        generate(
            ScanNet(root=root), tmp_path / "a", frames_per_scene=FrameSelection(limit=3), **options
        )


def test_a_summary_reads_no_mesh_pose_or_image(trees, tmp_path, small):
    for form in ("sensreader", "posed_images", "frames_25k"):
        told = ScanNet(root=trees / form).summary(NAME)
        assert (told.frames, told.instances, told.warnings, told.error) == (
            5,
            len(small.instances),
            (),
            "",
        )
    root = Path(shutil.copytree(trees / "sensreader", tmp_path / "data"))
    home = root / "scans" / NAME
    for file in home.rglob("*.*"):
        if file.name != f"{NAME}.aggregation.json":
            # empty, but there: nothing is opened
            file.write_bytes(b"")
    assert (ScanNet(root=root).summary(NAME).frames, ScanNet(root=root).summary(NAME).warnings) == (
        5,
        (),
    )
    (home / f"{NAME}_vh_clean_2.ply").unlink()
    shutil.rmtree(home / "pose")
    told = ScanNet(root=root).summary(NAME)
    assert (
        told.frames is None
        and told.warnings[0] == f"{NAME}_vh_clean_2.ply is missing"
        and "exported frames" in told.warnings[1]
    )


def test_links_copies_and_conversions(tree, tmp_path):
    root, home, path = tree("sensreader")
    made = {
        images: generate(
            ScanNet(root=root),
            tmp_path / images,
            tasks="depth_prediction_oc",
            per_task=6,
            progress=False,
            width=160,
            images=images,
        )
        for images in ("copy", "link", "convert")
    }
    for images, manifest in made.items():
        used = sorted(
            (tmp_path / images / "spar" / "scannet" / "images" / NAME / "image_color").iterdir()
        )
        assert manifest.content["parameters"]["images"] == images and used
        way = {"copy": "copied", "link": "linked", "convert": "copied"}[images]
        deep = {"copy": "copied", "link": "linked", "convert": "encoded"}[images]
        assert manifest.content["scenes"][NAME]["images"] == {
            f"colour {way}": len(used),
            f"depth {deep}": len(used),
        }
        for file in used:
            assert file.read_bytes() == path(
                "color", int(file.stem)
            ).read_bytes() and file.samefile(path("color", int(file.stem))) == (images == "link")
            depth = file.parent.parent / "image_depth" / f"{file.stem}.png"
            assert np.array_equal(
                np.asarray(Image.open(depth)), np.asarray(Image.open(path("depth", int(file.stem))))
            )
    with pytest.raises(ValueError, match="copy, link, convert"):
        generate(ScanNet(root=root), tmp_path / "no", images="move")


def test_a_recording_in_png_stays_png_and_its_questions_are_true(tmp_path, small):
    write_room(tmp_path, small, "stream png")
    made = generate(
        ScanNet(root=tmp_path),
        tmp_path / "data",
        tasks="depth_prediction_oc,position_matching",
        per_task=6,
        progress=False,
        width=160,
    )
    assert list(made.content["scenes"][NAME]["images"])[
        0
    ] == "colour copied" and "colour copied" in str(made)
    record, images = next(read_records(tmp_path / "data"))
    path = images / record["image"][0]
    assert path.suffix == ".png" and np.array_equal(
        np.asarray(Image.open(path)), small.frames[int(path.stem) // 8].read_color()
    )
    assert load_images(record, images)[0].size == (240, 180) and verify(tmp_path / "data").ok


def test_odd_names_numbers_and_links(tree, tmp_path):
    root, home, path = tree("sensreader")
    shutil.copy(path("color", 8), home / "color" / "008.jpg")  # a number twice
    for name in ("notes.txt", "9999999999.jpg", "-1.jpg", "1e3.jpg", ".8.jpg.part", "8 (copy).jpg"):
        (home / "color" / name).write_bytes(b"x")
    # not a regular file: no number for it
    (home / "color" / "700.jpg").symlink_to("/dev/zero")
    (home / "color" / "701.jpg").symlink_to(home / "color" / "701.jpg")  # a loop
    (home / "color" / "702.jpg").mkdir()
    outside = tmp_path / "disk2"
    outside.mkdir()
    shutil.move(path("depth", 16), outside / "16.png")
    # the user's own link to another disk is followed
    path("depth", 16).symlink_to(outside / "16.png")
    scene = ScanNet(root=root).load(NAME)
    assert [f.index for f in scene.frames] == [0, 8, 16, 24, 32] and scene.skipped == {
        "frame: its number occurs twice": 1
    }
    assert scene.frames[2].read_depth().shape == (120, 160)
    (root / "scans" / NAME / f"{NAME}.txt").unlink()
    (root / "scans" / NAME / f"{NAME}.txt").symlink_to("/dev/zero")  # would never end
    assert f"{NAME}.txt" in complaint(ScanNet(root=root).load, NAME)


def test_frames_without_any_depth_are_used_and_shown_as_such(tmp_path, small):
    """Zero is "no value", in a file and in a stream: nothing is invented there, and the page says
    what is missing."""
    blind = replace(
        small,
        frames=tuple(
            replace(f, read_depth=partial(still, np.zeros((120, 160), np.float32)))
            for f in small.frames
        ),
    )
    for form in ("posed_images", "stream"):
        scene = ScanNet(root=write_room(tmp_path / form, blind, form)).load(NAME)
        assert len(scene.frames) == 5 and not any(f.read_depth().any() for f in scene.frames)
        assert "No frame has a depth image that shows the surface." in scene_page(scene, frames=2)


# ----------------------------------------------------------------------------------------------
# instance archives


@pytest.mark.parametrize("kind", ["filt", "raw", "folder"])
def test_instance_images_from_either_archive_or_unpacked(tmp_path, small, kind):
    write_room(
        tmp_path,
        small,
        "posed_images",
        alignment=ALIGNMENT,
        instance_zip=None if kind == "folder" else kind,
    )
    home = tmp_path / "scans" / NAME
    if kind == "folder":
        write_room(tmp_path / "x", small, "posed_images", alignment=ALIGNMENT, instance_zip="filt")
        with zipfile.ZipFile(
            tmp_path / "x" / "scans" / NAME / f"{NAME}_2d-instance-filt.zip"
        ) as archive:
            archive.extractall(home)
    scene = ScanNet(root=tmp_path).load(NAME)
    assert differences(scene, small, 1) == [] and all(
        f.read_instances is not None for f in scene.frames
    )
    assert scene.frames[0].read_instances().dtype == np.int32 and scene.frames[
        0
    ].read_instances().shape == (120, 160)


def test_archives_that_bite(tmp_path, small):
    write_room(tmp_path, small, "posed_images", alignment=ALIGNMENT)
    archive = tmp_path / "scans" / NAME / f"{NAME}_2d-instance-filt.zip"
    bomb = b"\x89PNG\r\n\x1a\n" + bytes(60_000_000)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        # 60 MB behind 60 kB
        file.writestr("instance-filt/0.png", bomb)
        for name in (
            "../../8.png",
            "/etc/8.png",
            "instance-filt/../8.png",
            "C:\\8.png",
            "readme.md",
        ):
            file.writestr(name, b"x")
        file.writestr("instance-filt/16.png", b"not a picture")
        huge = tmp_path / "huge.png"
        Image.new("1", (9000, 9000)).save(huge)
        file.write(huge, "instance-filt/24.png")
        file.writestr(
            "instance-filt/32.png", (tmp_path / "posed_images" / NAME / "00032.png").read_bytes()
        )
        file.writestr("instance-filt/032.png", b"twice")
    scene = ScanNet(root=tmp_path).load(NAME)
    assert (
        scene.skipped == {"instance image: name, size or number is refused": 7}
        and len(scene.frames) == 5
    )
    frames = {f.index: f for f in scene.frames}
    assert frames[0].read_instances is None and frames[8].read_instances is None
    assert "instance-filt/16.png: not a PNG" in complaint(
        frames[16].read_instances
    ) and "9000x9000" in complaint(frames[24].read_instances)
    assert list_archive(archive).places[32].member == "instance-filt/032.png"
    # a member that is longer than it says
    liar = bytearray(archive.read_bytes())
    at = liar.rfind(b"instance-filt/24.png") - 46 + 24
    liar[at : at + 4] = (100).to_bytes(4, "little")
    archive.write_bytes(bytes(liar))
    assert "instance-filt/24.png" in complaint(
        ScanNet(root=tmp_path).load(NAME).frames[3].read_instances
    )
    for data in (b"", b"PK\x05\x06", archive.read_bytes()[:2000]):
        archive.write_bytes(data)
        broken = ScanNet(root=tmp_path).load(NAME)
        assert (
            broken.skipped == {"instance images: the archive is damaged": 1}
            and broken.frames[0].read_instances is None
        )


def test_instance_images_that_number_by_class_are_refused(tmp_path, small):
    write_room(tmp_path, small, "frames_25k")
    file = tmp_path / "scannet_frames_25k" / NAME / "instance" / "000008.png"
    Image.fromarray(np.full((180, 240), 5002, np.uint16)).save(file)
    assert "by class and frame" in complaint(
        ScanNet(root=tmp_path).load(NAME).frames[1].read_instances
    )
