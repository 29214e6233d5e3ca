"""Rays through the surface agree with a clean data set at full resolution, and catch hidden
objects, wrong ids, moved boxes and points, swapped frames, and false lists, orders and counts."""

import json
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_verify import SCENE, Record, caught, copy, edit, images, records
from toys import Toys, busy_room
from typer.testing import CliRunner

from spar_kit.cli.main import app
from spar_kit.data.generate import generate
from spar_kit.oracle.evidence.record import TASK_SPECS
from spar_kit.oracle.evidence.scene_files import Pose
from spar_kit.oracle.verify import Report, verify
from spar_kit.oracle.visibility.checks import NO_OBJECT, RayCheckConfig
from spar_kit.oracle.visibility.rays import Rays
from spar_kit.scenes.scene import Mesh

# ask about no object; see test_in_picture.py
CAMERAS = {"camera_motion_infer", "view_change_infer"}
MARKED = [name for name, form in TASK_SPECS.items() if form.marks]


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of 240x180, judged by the generator at 120x90."""
    folder = tmp_path_factory.mktemp("seen") / "clean"
    generate(Toys((SCENE,), busy_room), folder, per_task=2, width=120, progress=False)
    return folder


@cache
def room() -> Mesh:
    return busy_room(SCENE).surface


def as_it_is(scene: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return room().vertices, room().triangles, room().triangle_instance


def in_crates(scene: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every object but floor and wall stands in a crate without an id, 3 cm larger than itself."""
    vertices, triangles, ids = as_it_is(scene)
    crates = []
    for instance in busy_room(scene).instances[2:]:
        corners = instance.box.center + (instance.box.corners - instance.box.center) * (
            1 + 0.06 / instance.box.size.min()
        )
        crates.append(corners)
    faces = np.array(
        [
            [0, 1, 3],
            [0, 3, 2],
            [4, 6, 7],
            [4, 7, 5],
            [0, 4, 5],
            [0, 5, 1],
            [2, 3, 7],
            [2, 7, 6],
            [0, 2, 6],
            [0, 6, 4],
            [1, 5, 7],
            [1, 7, 3],
        ]
    )
    more = np.concatenate([faces + len(vertices) + 8 * k for k in range(len(crates))])
    return (
        np.concatenate([vertices, *crates]),
        np.concatenate([triangles, more]),
        np.concatenate([ids, np.zeros(len(more), ids.dtype)]),
    )


def ids_shifted(scene: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every object's surface carries the next object's id."""
    vertices, triangles, ids = as_it_is(scene)
    order = np.unique(ids[ids > 2])
    return (
        vertices,
        triangles,
        np.where(
            ids > 2, np.roll(order, 1)[np.searchsorted(order, ids).clip(0, len(order) - 1)], ids
        ),
    )


def no_surface(scene: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    raise OSError("the disk is gone")


def look(
    folder: Path, surface: Callable = as_it_is, frames: int | None = None, **options: int
) -> Report:
    return verify(folder, looking=RayCheckConfig(surface, frames), **options)


# ----------------------------------------------------------------------------------------------------------------  # noqa: E501
# clean


def test_agrees_with_a_clean_data_set(clean: Path) -> None:
    report = look(clean)
    assert report.ok and not report.problems
    assert {name for name, task in report.tasks.items() if not task.checked} <= NO_OBJECT | {
        "nav_video"
    }
    assert report.checked + report.not_checkable == sum(1 for _ in records(clean))
    assert set().union(*(task.not_checkable for task in report.tasks.values())) <= {
        "no object is claimed to be seen",
        "no object is named",
    }


def test_a_sample_of_frames_is_the_same_with_workers(clean: Path) -> None:
    some = look(clean, frames=4)
    again = look(clean, frames=4, workers=2)
    assert 0 < some.checked < sum(1 for _ in records(clean)) - 100 and some.ok
    assert {name: task.not_checkable for name, task in some.tasks.items()} == {
        name: task.not_checkable for name, task in again.tasks.items()
    }
    assert (
        some.tasks["depth_prediction_oc"].not_checkable[
            "claims nothing in the frames that are looked at"
        ]
        > 0
    )


def test_without_a_surface_nothing_is_checked(clean: Path) -> None:
    report = look(clean, no_surface)
    assert not report.checked and not report.ok
    assert report.tasks["obj_count"].not_checkable == {
        "the surface cannot be opened: OSError: the disk is gone": (
            report.tasks["obj_count"].not_checkable.total()
        )
    }


# ------------------------------------------------------------------------------------------------------------  # noqa: E501
# mutations


@pytest.fixture(scope="session")
def hidden(clean: Path) -> Report:
    return look(clean, in_crates)


@pytest.fixture(scope="session")
def renamed(clean: Path) -> Report:
    return look(clean, ids_shifted)


@pytest.fixture(scope="session")
def swapped(clean: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The pose of every frame is that of the frame half the walk away."""
    folder = copy(clean, tmp_path_factory.mktemp("swapped"))
    poses = sorted((images(folder) / "pose").iterdir())
    texts = [path.read_bytes() for path in poses]
    for path, text in zip(poses, texts[len(texts) // 2 :] + texts[: len(texts) // 2]):
        path.write_bytes(text)
    return look(folder)


@pytest.mark.parametrize("task", sorted(set(TASK_SPECS) - NO_OBJECT - CAMERAS - {"nav_video"}))
def test_catches_hidden_objects_and_wrong_ids(hidden: Report, renamed: Report, task: str) -> None:
    for report in (hidden, renamed):
        assert report.tasks[task].checked == report.tasks[task].mismatched > 0


@pytest.mark.parametrize(
    "task", sorted({*MARKED, "distance_infer_center_oc", "distance_infer_center_oc_mv"})
)
def test_catches_swapped_frames(swapped: Report, task: str) -> None:
    found = swapped.tasks[task]
    assert found.mismatched > 0.9 * found.checked > 0


@pytest.fixture(scope="session")
def shifted(clean: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, int], Report]:
    """Every drawn box 30 thousandths to one side, every point where its object is not."""
    folder = copy(clean, tmp_path_factory.mktemp("shifted"))

    def move(mark: list[int], image: str, id: int) -> None:
        if len(mark) == 4:
            mark[0::2] = [v + (30 if mark[2] <= 970 else -30) for v in mark[0::2]]
            return
        ids = np.asarray(
            Image.open(
                folder
                / "spar/synthetic/images"
                / image.replace("image_color", "image_instance").replace(".jpg", ".png")
            )
        )
        rows, columns = np.nonzero(ids == id)
        h, w = ids.shape
        corners = [(5, 5), (995, 5), (5, 995), (995, 995)]
        mark[:] = max(
            corners, key=lambda c: np.hypot(columns * 1000 / w - c[0], rows * 1000 / h - c[1]).min()
        )

    def change(record: Record, task: str, format: str) -> bool:
        facts = record["facts"]
        marks = TASK_SPECS[task].marks
        if not marks:
            drawn = []
        elif marks[0].endswith("_list"):
            drawn = record[marks[0]][0]
        else:
            drawn = [record[mark][0] for mark in marks]
        for k, mark in enumerate(drawn):
            move(mark, record["image"][facts["view"][k]], facts["objects"][k])
        return bool(drawn)

    return edit(folder, change), look(folder)


@pytest.mark.parametrize("task", MARKED)
def test_catches_moved_marks(shifted: tuple[dict[str, int], Report], task: str) -> None:
    changed, report = shifted
    assert caught(report, task) == changed[task] > 0


def lie(record: Record, task: str) -> bool:
    """Claim something false of what is visible; whether there was something to lie about."""
    facts = record["facts"]
    if task == "obj_frame_locate":
        facts["visible"] = [not said for said in facts["visible"]]
    elif task == "appearance_order":
        order = np.argsort(facts["first"])
        # the last comes first
        facts["first"] = [facts["first"][order[3 - list(order).index(k)]] for k in range(4)]
    elif task == "obj_count":
        facts["answer"] += 1
    elif task == "position_matching":
        facts["target_box"] = facts["distractor_box"][0]
    elif task.startswith("distance_infer_center_oc"):
        for key in ("objects", "option_box", "option_view", "distance"):
            # the gold is another object
            facts[key] = facts[key][::-1]
    else:
        return False
    return True


@pytest.mark.parametrize(
    "task",
    [
        "obj_frame_locate",
        "appearance_order",
        "obj_count",
        "position_matching",
        "distance_infer_center_oc",
        "distance_infer_center_oc_mv",
    ],
)
def test_catches_lies(clean: Path, tmp_path: Path, task: str) -> None:
    folder = copy(clean, tmp_path)
    changed = edit(folder, lambda record, name, format: name == task and lie(record, name))
    assert caught(look(folder), task) == changed[task] > 0


def test_catches_one_hidden_object_only_where_it_is_named(clean: Path) -> None:
    """A panel in front of the first camera's best object: what names it there is contradicted, the
    rest of the records are not touched."""
    task = "spatial_volume_infer"
    wanted = {}
    for _, _, record in records(clean):
        if record["type"] == task:
            wanted.setdefault(
                (record["facts"]["frames"][0], record["facts"]["objects"][0]), []
            ).append(record["id"])
    frame, id = sorted(wanted)[0]
    pose = np.loadtxt(images(clean) / f"pose/{frame}.txt")
    away = next(i.box.center for i in busy_room(SCENE).instances if i.id == id) - pose[:3, 3]
    center = pose[:3, 3] + 0.3 * away / np.linalg.norm(away)
    side = 0.12
    panel = center + side * (np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) @ pose[:3, :2].T)

    def with_panel(scene: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        vertices, triangles, ids = as_it_is(scene)
        return (
            np.concatenate([vertices, panel]),
            np.concatenate([triangles, np.array([[0, 1, 2], [0, 2, 3]]) + len(vertices)]),
            np.append(ids, [0, 0]),
        )

    report = look(clean, with_panel, limit=1000).tasks[task]
    assert (
        set(wanted[frame, id]) <= {m.id for m in report.mismatches}
        and report.mismatched < report.checked
    )
    assert all("to be seen" in m.reason or "outside" in m.reason for m in report.mismatches)


# ----------------------------------------------------------------------------------------------------------  # noqa: E501
# rays alone


def test_rays_count_what_geometry_says() -> None:
    """A square of 1 m, 2 m ahead, beside a camera of 600x400: its pixels, its box and its share, to
    the pixel; from behind the same."""
    corners = np.array([[-0.5, 2, 0.5], [0.5, 2, 0.5], [0.5, 2, 1.5], [-0.5, 2, 1.5]])
    rays = Rays(corners, np.array([[0, 1, 2], [0, 2, 3]]), np.array([4, 4]))
    for y, way in ((0.0, 1.0), (4.0, -1.0)):
        pose = Pose((0.0, y, 1.0), (way, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, way, 0.0))
        shot = rays.shot(4, pose, (300.0, 300.0, 299.5, 199.5), (600, 400))
        assert (
            shot.mask.shape == (150, 150)
            and shot.mask.all()
            and shot.corner == (225, 125)
            and shot.share == 1.0
        )
        assert shot.box == (375.0, 312.5, 625.0, 687.5) and shot.away(500, 500) < 1.2
        # its middle on the left edge of the image
        half = rays.shot(4, pose, (300.0, 300.0, -0.5, 199.5), (600, 400))
        assert half.mask.shape == (150, 75) and abs(half.share - 0.5) < 0.02


def test_rays_and_broken_triangles() -> None:
    corners = np.array([[-0.5, 2, 0.5], [0.5, 2, 0.5], [0.5, 2, 1.5], [np.nan, 2, 1.5]])
    pose = Pose((0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))
    shot = Rays(corners, np.array([[0, 1, 2], [0, 2, 3]]), np.array([4, 4])).shot(
        4, pose, (300.0, 300.0, 299.5, 199.5), (600, 400)
    )
    assert 0.45 < shot.mask.sum() / 150**2 < 0.55
    empty = Rays(np.zeros((0, 3)), np.zeros((0, 3), int), np.zeros(0, int)).shot(
        4, pose, (300.0, 300.0, 299.5, 199.5), (600, 400)
    )
    assert empty.pixels == empty.share == 0


# ----------------------------------------------------------------------------------------------------  # noqa: E501
# the command line

SOURCE = """
from functools import partial
import sys
sys.path.insert(0, {tests!r})
from toys import Toys, busy_room
rooms = Toys(("room0000_00",), busy_room)
"""


def test_command_line(clean: Path, tmp_path: Path) -> None:
    (tmp_path / "rooms.py").write_text(SOURCE.format(tests=str(Path(__file__).parent)))
    spec = f"python:{tmp_path / 'rooms.py'}:rooms"
    run = partial(CliRunner().invoke, app)
    result = run(["verify", str(clean), "--source", spec, "--frames", "2"])
    assert (
        result.exit_code == 0 and "by rays" in result.output and "0 contradicted" in result.output
    ), result.output
    folder = copy(clean, tmp_path)
    edit(folder, lambda record, name, format: name == "appearance_order" and lie(record, name))
    assert run(["verify", str(folder), "--source", spec, "--frames", "2"]).exit_code == 1


def test_command_line_refuses_another_source(clean: Path, tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    manifest = json.loads((clean / "manifest.json").read_text())
    assert manifest["parameters"]["source"] == "synthetic"
    result = CliRunner().invoke(
        app, ["verify", str(clean), "--source", f"scannet:{tmp_path / 'scans'}"]
    )
    assert isinstance(result.exception, ValueError) and str(result.exception).endswith(
        f"was made from synthetic, scannet:{tmp_path / 'scans'} holds scannet"
    )
