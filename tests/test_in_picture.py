"""What a question marks, lists or relates is in the picture for a person to see; and the oracle
notices where thresholds were left out."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_seen import as_it_is, look
from test_verify import Record, caught, copy, edit, images, records
from toys import Toys, busy_room

from spar_kit.data.generate import generate
from spar_kit.oracle.evidence.markers import DISC_RADIUS, REFERENCE_WIDTH
from spar_kit.oracle.evidence.scene_files import Pose
from spar_kit.oracle.verify import Report, verify
from spar_kit.oracle.visibility.rays import Rays
from spar_kit.scenes.box_room import box_mesh
from spar_kit.scenes.scene import Camera, Frame, Instance, Mesh, OrientedBox, Scene, look_at
from spar_kit.scenes.visibility import VisibilityThresholds, compute_visibility
from spar_kit.tasks.markable import disc_radius
from spar_kit.tasks.markers import RADIUS, REFERENCE_WIDTH_PX
from spar_kit.tasks.registry import TASKS, compute_facts, rng_for
from spar_kit.tasks.scene_index import SceneIndex, index_scene
from spar_kit.tasks.thresholds import Thresholds

SCENE = "room0000_00"
POINTS = [name for name, task in TASKS.items() if task.markers and "point" in task.markers[0]]
BOXES = [name for name, task in TASKS.items() if task.markers and "bbox" in task.markers[0]]


@cache
def room() -> tuple[Scene, SceneIndex]:
    scene = busy_room(SCENE)
    return scene, index_scene(scene, compute_visibility(scene))


@cache
def witness() -> Rays:
    return Rays(*as_it_is(SCENE))


@cache
def silhouette(frame: int, id: int) -> tuple[float, float]:
    """Visible share of an object's whole silhouette in a frame, and the share of it inside the
    image, by rays."""
    f = room()[0].frames[frame]
    right, down, forward, eye = (tuple(f.camera_to_world[:3, k].tolist()) for k in range(4))
    K = f.color.intrinsics
    size = (f.color.width, f.color.height)
    camera = Pose(eye, right, down, forward), (K[0, 0], K[1, 1], K[0, 2], K[1, 2]), size
    full, inside = witness().whole(id, *camera)
    return witness().shot(id, *camera).mask.sum() / max(full, 1), inside


def marks(name: str, count: int = 60):
    """(frame, object, mark) of a task's questions in the toy room."""
    scene, observation = room()
    facts = compute_facts(name, observation, rng_for(0, SCENE, name), count)
    assert len(facts), name
    for row in range(len(facts)):
        for k, view in enumerate(facts.view[row]):
            if view >= 0:
                yield int(facts.frames[row, view]), int(facts.objects[row, k]), facts.marks[row, k]


# -------------------------------------------------------------------------------------------------------------  # noqa: E501
# the generator


@pytest.mark.parametrize("name", POINTS)
def test_centres_are_in_the_picture_and_discs_are_whole(name: str) -> None:
    scene = room()[0]
    for frame, id, point in marks(name):
        camera = scene.frames[frame].color
        place, z = camera.project(
            scene.frames[frame].world_to_camera[:3, :3] @ scene.instance(id).box.center
            + scene.frames[frame].world_to_camera[:3, 3]
        )
        for x, y in (place + 0.5, point * [camera.width, camera.height] / 1000):
            assert z > 0 and 20 <= x <= camera.width - 20 and 20 <= y <= camera.height - 20
        assert silhouette(frame, id)[0] >= 0.25


@pytest.mark.parametrize("name", BOXES)
def test_boxes_hold_most_of_their_object(name: str) -> None:
    for frame, id, _ in marks(name):
        share, inside = silhouette(frame, id)
        assert inside >= 0.45 and share >= (0.45 if name == "spatial_volume_infer" else 0.25)


def test_discs_as_spar_draws_them_and_as_the_kit_does() -> None:
    sizes = np.array([[320, 240], [640, 480], [1296, 968], [1920, 1440]])
    # of the two the larger, but no more than an eighth of the shorter side
    wanted = np.minimum(np.maximum(20, 20 * sizes[:, 0] / 1296), 0.125 * sizes.min(1))
    assert np.allclose(disc_radius(sizes, Thresholds()), wanted)


def test_the_oracle_knows_the_disc_that_is_drawn() -> None:
    """The generator and the oracle share no code, so the number stands twice."""
    assert (RADIUS, REFERENCE_WIDTH_PX) == (DISC_RADIUS, REFERENCE_WIDTH)
    # two discs of that radius in an image 968 pixels high do not touch
    assert Thresholds().point_gap >= 2 * RADIUS / 968 * 1000 - 2


def test_share_of_the_silhouette_is_that_of_rays() -> None:
    scene, observation = room()
    seen = observation.clear_sightings
    error = []
    for row in range(0, len(seen.frame), 3):
        share, _ = silhouette(int(seen.frame[row]), int(observation.ids[seen.object[row]]))
        error.append(seen.share[row] - share)
    assert len(error) > 50 and np.abs(error).max() < 0.08 and abs(np.mean(error)) < 0.01


def camera_over(boxes: dict[int, OrientedBox], pose: np.ndarray) -> Scene:
    meshes = [box_mesh(box) for box in boxes.values()]
    starts = np.cumsum([0] + [len(v) for v, _ in meshes])
    surface = Mesh(
        np.concatenate([v for v, _ in meshes]),
        np.concatenate([t + s for (_, t), s in zip(meshes, starts)]).astype(np.int32),
        np.repeat(list(boxes), [len(t) for _, t in meshes]).astype(np.int32),
    )
    camera = Camera.from_fov(640, 480, 65)
    return Scene(
        name="made",
        source="synthetic",
        frames=(Frame(0, pose, camera, camera, lambda: None, lambda: None),),  # type: ignore[arg-type, return-value]
        instances=tuple(Instance(id, f"box {id}", box) for id, box in boxes.items()),
        surface=surface,
    )


def test_a_table_that_fills_half_of_the_picture_is_visible_and_a_leg_at_the_border_is_not() -> None:
    """A table of 3 m under the camera's nose shows less than a quarter of its silhouette, and is
    not to be overlooked; of a cupboard beside the camera the same share, in few pixels, is no sight
    of a cupboard."""
    table = OrientedBox(np.array([0.9, 0, 0.7]), np.array([3.0, 2, 0.1]))
    cupboard = OrientedBox(np.array([4.5, 3.1, 0.8]), np.array([0.4, 0.7, 1.0]))
    scene = camera_over(
        {1: table, 2: cupboard}, look_at(np.array([0, 0, 1.3]), np.array([2.0, 0, 0.9]))
    )
    seen = compute_visibility(scene)
    rows = {int(i): k for k, i in enumerate(seen.instance)}
    assert (
        seen.pixels[rows[1]] * 4 > 0.2 * 640 * 480
        and seen.share[rows[1]] < 0.5
        and seen.visible[rows[1]]
    )
    assert (
        seen.pixels[rows[2]] * 4 > 400 and seen.share[rows[2]] < 0.25 and not seen.visible[rows[2]]
    )


def test_lists_of_frames_leave_nothing_out() -> None:
    scene, observation = room()
    facts = compute_facts(
        "obj_frame_locate", observation, rng_for(0, SCENE, "obj_frame_locate"), 60
    )
    table = compute_visibility(scene)
    n = 0
    pixels = {
        (f, i): p * (640 * 480 / np.prod(table.raster))
        for f, i, p in zip(table.frame.tolist(), table.instance.tolist(), table.pixels.tolist())
    }
    for row in range(len(facts)):
        for frame, said in zip(facts.frames[row].tolist(), facts.numbers["visible"][row]):
            shown = pixels.get((frame, int(facts.objects[row, 0])), 0)
            assert shown >= 400 if said else shown < 100
            n += 1
    assert n >= 32 * 4


def test_answer_boxes_are_measured_in_the_image_s_own_pixels() -> None:
    """Decided at 60 pixels of width, boxes of answers are still those of the 240 pixels of the
    image."""
    scene = room()[0]
    coarse = compute_visibility(scene, width=60)
    exact = compute_visibility(scene, width=240)
    true = {
        (f, i): box for f, i, box in zip(exact.frame.tolist(), exact.instance.tolist(), exact.box)
    }
    facts = compute_facts(
        "position_matching", index_scene(scene, coarse), rng_for(0, SCENE, "position_matching"), 40
    )
    assert len(facts)
    for frame, id, box in zip(
        facts.frames[:, 1].tolist(), facts.objects[:, 0].tolist(), facts.numbers["target_box"]
    ):
        assert np.abs(box - true[frame, id]).max() <= 0.5


# ------------------------------------------------------------------------------------------------------  # noqa: E501
# two cameras and a wall


def divided(door: bool) -> Scene:
    """Two cameras 3 m apart look the same way; between them a wall from side to side, with a low
    door or without."""
    boxes = {
        0: OrientedBox(np.array([3.0, 0, 1.3]), np.array([9.0, 6, 2.6])),
        9: OrientedBox(
            np.array([1.5, 2.0 if door else 0, 1.3]), np.array([0.1, 2 if door else 6, 2.6])
        ),
    }
    boxes |= {
        k: OrientedBox(np.array([4.5 + 0.4 * k, 0.9 * (k - 2), 0.5]), np.array([0.4, 0.4, 1.0]))
        for k in (1, 2, 3)
    }
    scene = camera_over(boxes, np.eye(4))
    poses = [look_at(np.array([x, 0.1, 1.4]), np.array([x + 2, 0.1, 1.2])) for x in (0.0, 3.0)]
    return replace(
        scene,
        instances=tuple(i for i in scene.instances if i.id in (1, 2, 3)),
        frames=tuple(
            replace(scene.frames[0], index=k, camera_to_world=pose) for k, pose in enumerate(poses)
        ),
    )


@pytest.mark.parametrize("task", ["camera_motion_infer", "view_change_infer"])
def test_no_question_of_cameras_through_a_wall(task: str) -> None:
    rules = replace(Thresholds(), overlap=(0.0, 1.0), rounding=0.0)
    asked = [
        len(
            compute_facts(
                task,
                index_scene(scene, compute_visibility(scene), rules),
                np.random.default_rng(0),
                10,
            )
        )
        for scene in (divided(True), divided(False))
    ]
    assert asked[0] > 0 and asked[1] == 0


def test_cameras_that_are_far_apart_or_share_a_wall_alone_are_not_asked_about() -> None:
    scene = divided(True)
    table = compute_visibility(scene)
    for rules, seen in (
        (replace(Thresholds(), max_motion=2.9), table),
        (
            Thresholds(),
            replace(
                table, visible=np.zeros(len(table), bool), overlap=np.full((2, 2), 0.2, np.float32)
            ),
        ),
    ):
        observation = index_scene(
            scene, seen, replace(rules, overlap=(0.0, 1.0), rounding=0.0, min_objects=0)
        )
        for task in ("camera_motion_infer", "view_change_infer"):
            assert not len(compute_facts(task, observation, np.random.default_rng(0), 10))


# ----------------------------------------------------------------------------------------------------------------  # noqa: E501
# the oracle


def made_with(folder: Path, tasks: str, width: int = 240, **thresholds: object) -> Path:
    """A data set made with other thresholds, whose manifest claims the usual ones."""
    usual = Thresholds()
    rule = VisibilityThresholds(
        share=float(thresholds.get("mark_share", VisibilityThresholds().share))
    )  # type: ignore[arg-type]
    generate(
        Toys((SCENE,), busy_room),
        folder,
        tasks=tasks,
        per_task=100 if "mark_share" in thresholds else 12,
        width=width,
        progress=False,
        rules=replace(usual, **thresholds),
        visibility=rule,
    )  # type: ignore[arg-type]
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["parameters"]["rules"] |= json.loads(
        json.dumps(
            {key: getattr(usual, key) for key in thresholds}
            | {"share": VisibilityThresholds().share}
        )
    )
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


LEFT_OUT = [
    ("depth_prediction_oc", {"disc": 0.0, "disc_most": 0.0}, False),
    ("distance_infer_center_oo_video", {"disc": 0.0, "disc_most": 0.0}, False),
    ("distance_prediction_oo", {"mark_share": 0.0}, True),
    ("obj_spatial_relation_oc_mv", {"mark_share": 0.0, "box_inside": 0.0}, True),
    ("spatial_volume_infer", {"volume_share": 0.0, "mark_share": 0.0, "box_inside": 0.0}, True),
    ("obj_spatial_relation_oo", {"plumb": (-99.0, 99.0)}, False),
    ("obj_spatial_relation_oc_mv", {"plumb": (-99.0, 99.0)}, False),
    ("obj_spatial_relation_oo_mv", {"plumb": (-99.0, 99.0)}, False),
    ("obj_frame_locate", {"rival": 1e9}, False),
    ("obj_frame_locate", {"rival": 1e9}, True),
    ("obj_frame_locate", {"listed": 2000.0, "rival": 1e9}, True),
    ("camera_motion_infer", {"max_motion": 99.0}, False),
]


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Report]:
    """The verdicts, by rays or not, on all these tasks with the usual thresholds."""
    folder = made_with(
        tmp_path_factory.mktemp("honest") / "data",
        ",".join(sorted({task for task, _, _ in LEFT_OUT})),
    )
    return {False: verify(folder), True: look(folder, frames=16)}


@pytest.mark.parametrize(("task", "thresholds", "rays"), LEFT_OUT)
def test_the_oracle_notices_a_threshold_that_was_left_out(
    honest: dict[bool, Report], tmp_path: Path, task: str, thresholds: dict, rays: bool
) -> None:
    folder = made_with(tmp_path / "data", task, **thresholds)
    # in one room nobody walks farther than the usual limit
    if "max_motion" in thresholds:
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["parameters"]["rules"]["max_motion"] = 1.0
        (folder / "manifest.json").write_text(json.dumps(manifest))
    assert (
        caught(
            (
                look(folder, frames=16)
                if rays and task == "obj_frame_locate"
                else look(folder)
                if rays
                else verify(folder)
            ),
            task,
        )
        > 0
    )
    assert honest[rays].ok and honest[rays].tasks[task].checked and not caught(honest[rays], task)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_with(
        tmp_path_factory.mktemp("pairs") / "data",
        "camera_motion_infer,view_change_infer,position_matching",
        width=60,
    )


def test_the_oracle_notices_a_wall_between_two_cameras(pairs: Path, tmp_path: Path) -> None:
    """On disk: every depth image shows a wall half a meter ahead. By rays: a panel stands between
    the two cameras of one question."""
    folder = copy(pairs, tmp_path)
    for path in (images(folder) / "image_depth").iterdir():
        Image.fromarray(np.full_like(np.asarray(Image.open(path)), 100)).save(path)
    report = verify(folder, limit=1000)
    n = sum(record["type"] == "camera_motion_infer" for _, _, record in records(folder))
    assert report.tasks["camera_motion_infer"].mismatched == n > 0
    record = next(
        record for _, _, record in records(pairs) if record["type"] == "camera_motion_infer"
    )
    here, there = (
        np.loadtxt(images(pairs) / f"pose/{frame}.txt")[:3] for frame in record["facts"]["frames"]
    )
    center = (here[:, 3] + there[:, 3]) / 2
    way = there[:, 3] - here[:, 3]
    across = np.cross(way / np.linalg.norm(way), [0, 0, 1.0])
    panel = center + 0.05 * (
        np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) @ np.stack([across, [0, 0, 1.0]])
    )

    def with_panel(scene: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        vertices, triangles, ids = as_it_is(scene)
        return (
            np.concatenate([vertices, panel]),
            np.concatenate([triangles, np.array([[0, 1, 2], [0, 2, 3]]) + len(vertices)]),
            np.append(ids, [0, 0]),
        )

    assert look(pairs).ok
    found = look(pairs, with_panel, limit=1000).tasks["camera_motion_infer"]
    assert record["id"] in {m.id for m in found.mismatches} and all(
        "in between" in m.reason for m in found.mismatches
    )


def test_the_oracle_notices_two_views_with_nothing_in_common(pairs: Path, tmp_path: Path) -> None:
    """The second picture of every pair is exchanged for one of the other side of the room, its
    files and facts with it."""
    folder = copy(pairs, tmp_path)
    for path in (images(folder) / "image_instance").iterdir():
        # no object in any picture
        Image.fromarray(np.zeros_like(np.asarray(Image.open(path)))).save(path)
    for path in (images(folder) / "image_depth").iterdir():
        depth = np.asarray(Image.open(path))
        # and no surface that two of them share
        Image.fromarray(np.full_like(depth, 300 if int(path.stem) % 2 else 9000)).save(path)
    report = verify(folder, limit=1000)
    assert report.tasks["view_change_infer"].mismatched > 0
    assert any(
        "no object in common" in m.reason for m in report.tasks["view_change_infer"].mismatches
    )


def test_the_oracle_notices_boxes_of_coarse_pictures(pairs: Path, tmp_path: Path) -> None:
    """Targets measured in instance images of 60 pixels: rays through the 240 of the image see other
    boxes."""
    folder = copy(pairs, tmp_path)

    def coarse(record: Record, task: str, format: str) -> bool:
        if task != "position_matching":
            return False
        ids = np.asarray(
            Image.open(images(folder) / "image_instance" / (Path(record["image"][1]).stem + ".png"))
        )
        rows, columns = np.nonzero(ids == record["facts"]["objects"][0])
        h, w = ids.shape
        record["facts"]["target_box"] = [
            round(v)
            for v in (
                columns.min() * 1000 / w,
                rows.min() * 1000 / h,
                (columns.max() + 1) * 1000 / w,
                (rows.max() + 1) * 1000 / h,
            )
        ]
        return True

    assert edit(folder, coarse)["position_matching"] > 0
    assert caught(look(folder), "position_matching") > 0 == caught(look(pairs), "position_matching")


def test_the_oracle_notices_what_is_above_in_metres_and_below_in_the_picture() -> None:
    from spar_kit.oracle.answers.relations import Slot
    from spar_kit.oracle.derive.single_view import check_by_eye
    from spar_kit.oracle.evidence.record import Thresholds as Theirs
    from spar_kit.oracle.evidence.scene_files import MismatchError

    class Asked:
        rules = Theirs()

    # 0.3 m below ...
    slots = Slot("side", 0.0, 0.15), Slot("height", 0.3, 0.15), Slot("range", 0.0, 0.2)
    with pytest.raises(MismatchError, match="other side"):
        check_by_eye(Asked(), slots, (0, 0.6, 4.0), (0, 0.3, 1.0))  # type: ignore[arg-type]  # ... and seen above
    check_by_eye(Asked(), slots, (0, 0.6, 1.5), (0, 0.3, 1.5))  # type: ignore[arg-type]


def test_a_sliver_thinner_than_a_pixel_is_no_part_of_a_box_that_is_asked_for() -> None:
    """A leg of a quarter of the coarse image's pixels, far beside the rest, is to be seen only in
    the image's own pixels; a thicker one belongs to the box."""
    from spar_kit.scenes.fine_box import FineBoxes

    def boxes(leg: float) -> list[np.ndarray]:
        """x1 of the object in the coarse image, in the image's own pixels, and of the answer."""
        parts = [
            box_mesh(OrientedBox(np.array(at), np.array(size), 0.0))
            for at, size in (((2.0, 0, 0), (0.01, 0.5, 0.5)), ((2.0, 0.8075, 0), (0.01, leg, 0.3)))
        ]
        first = len(parts[0][0])
        surface = Mesh(
            np.concatenate([parts[0][0], parts[1][0]]),
            np.concatenate([parts[0][1], parts[1][1] + first]),
            np.full(24, 7, np.int32),
        )
        scene = busy_room(SCENE)
        frame = replace(
            scene.frames[0],
            color=Camera.from_fov(640, 480, 60),
            camera_to_world=look_at(np.zeros(3), np.array([1.0, 0, 0])),
        )
        table = Instance(
            7, "table", OrientedBox(np.array([2.0, 0.4, 0]), np.array([0.1, 1.4, 0.6]), 0.0)
        )
        alone = replace(scene, surface=surface, frames=(frame,), instances=(table,))
        coarse = compute_visibility(alone, VisibilityThresholds(share=0), 160).box[0]
        fine = FineBoxes(alone, 160)
        answer = fine(np.zeros(1, int), np.array([7]), coarse[None])[0]
        return [coarse[0], fine.found[0, 7][0], answer[0]]

    coarse, fine, answer = boxes(0.0036)
    assert coarse - fine > 100 and abs(answer - coarse) < 8
    coarse, fine, answer = boxes(0.05)
    assert abs(coarse - fine) < 8 and abs(answer - fine) <= 1
