"""A source of one's own, named on the command line: found, limited, handed to other processes, and
told in one line where it is wrong."""

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from spar_kit.data.generate import generate
from spar_kit.oracle.verify import verify
from spar_kit.scenes.readers.custom import PythonSource, import_source
from spar_kit.scenes.scene import SceneError
from spar_kit.scenes.sources import open_source

ROOMS = """
from dataclasses import dataclass

import helper
from spar_kit.scenes.summary import Summary
from spar_kit.scenes.box_room import box_room_scene

@dataclass(frozen=True)
class Rooms:
    name: str = "rooms"
    wrong: str = ""
    def scenes(self, split=None):
        if self.wrong == "scenes": return {}["rooms"]
        if self.wrong == "names": return ["a/../b"]
        if self.wrong == "twice": return ["a", "a"]
        return {"train": ["a", "b"], "val": ["c"], None: ["a", "b", "c"]}[split]
    def load(self, scene):
        if self.wrong == "load": return [1, 2][scene]
        if self.wrong == "kind": return {"frames": 3}
        return box_room_scene(helper.FRAMES, width=96, name=scene)
    def describe(self):
        return {"kind": "toys"}

class Quick(Rooms):
    def load(self, scene): raise AssertionError("loaded")
    def summary(self, scene): return Summary(scene=scene, frames=7, valid=5, instances=3)

class Nameless:
    scenes = load = describe = print

def slash(): return Rooms("my/rooms")
def make(): return Rooms("made")
def needs(argument): return Rooms()
def fails(): return 1 / 0
ready = Rooms("ready")
number = 3
for wrong in ("scenes", "names", "twice", "load", "kind"): globals()[f"wrong_{wrong}"] = Rooms(wrong=wrong)
"""  # noqa: E501


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "helper.py").write_text("FRAMES = 9\n")
    (tmp_path / "rooms.py").write_text(ROOMS)
    yield tmp_path / "rooms.py"
    sys.modules.pop("helper", None)
    import_source.cache_clear()


@pytest.mark.parametrize(
    ("what", "name"),
    [("Rooms", "rooms"), ("make", "made"), ("ready", "ready")],
    ids=["class", "function", "object"],
)
def test_a_name_gives_a_source(file: Path, what: str, name: str) -> None:
    source = open_source(f"python:{file}:{what}", scenes=1, frames=4)
    assert source.name == name and source.scenes("train") == ["a"] and source.scenes("val") == ["c"]
    scene = source.load("a")
    assert scene.name == "a" and len(scene.frames) == 4
    assert source.describe() == {
        "python": f"rooms.py:{what}",
        "count": 1,
        "frames": 4,
        "kind": "toys",
    } and str(file.parent) not in str(source.describe())


def test_a_module_by_its_dotted_name(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file.parent / "pack").mkdir()
    (file.parent / "pack/__init__.py").touch()
    (file.parent / "pack/inner.py").write_text(ROOMS)
    monkeypatch.chdir(file.parent)
    before = list(sys.path)
    assert open_source("python:pack.inner:make").name == "made"
    assert sys.path == before


def test_another_process_opens_it_from_its_name(file: Path) -> None:
    """What travels is the name alone: a process that has never seen the file can load the scene."""
    data = pickle.dumps(open_source(f"python:{file}:Rooms", frames=2))
    assert b"box_room_scene" not in data
    import_source.cache_clear()
    for name in [name for name in sys.modules if name.startswith("rooms_")]:
        del sys.modules[name]
    assert len(pickle.loads(data).load("b").frames) == 2


def test_its_summary_is_asked_where_it_has_one(file: Path) -> None:
    quick = PythonSource(f"{file}:Quick").summary("a")
    slow = PythonSource(f"{file}:Rooms").summary("a")
    assert (quick.frames, quick.valid, quick.instances) == (7, 5, 3)
    assert (slow.frames, slow.valid, slow.instances, slow.area) == (9, 9, 8, 20)


FAULTS = {
    "gone.py:Rooms": "gone.py: no such file",
    "rooms.py:Room": "has no Room; it has Rooms",
    "rooms.py:Nameless": "is no Source: it has no name",
    "rooms.py:number": "int, which is no Source",
    "rooms.py:slash": "cannot be a folder's",
    "rooms.py:needs": r"needs\(\) failed: TypeError",
    "rooms.py:fails": r"fails\(\) failed: ZeroDivisionError.*line",
    "rooms.py": "is not understood; write python:FILE.py:NAME",
    "rooms.py:": "is not understood",
    "rooms.py:a b": "is not understood",
    "broken.py:x": r"cannot be imported: SyntaxError",
    "late.py:x": r"cannot be imported: NameError.*line 3",
}


@pytest.mark.parametrize("spec", FAULTS)
def test_what_is_wrong_with_a_name_is_said_in_one_line(file: Path, spec: str) -> None:
    (file.parent / "broken.py").write_text("def x(:\n")
    (file.parent / "late.py").write_text("import math\n\nx = matth.pi\n")
    with pytest.raises((ValueError, SceneError), match=FAULTS[spec]) as caught:
        open_source(f"python:{file.parent / spec}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("scenes", "scenes.. failed: KeyError"),
        ("names", "cannot be a folder's name"),
        ("twice", "a name twice"),
        ("load", r"load\('a'\) failed: TypeError"),
        ("kind", r"load\('a'\) gives a dict, not a Scene"),
    ],
)
def test_what_it_does_wrong_later_is_a_scene_error(file: Path, what: str, reason: str) -> None:
    source = open_source(f"python:{file}:wrong_{what}")
    with pytest.raises(SceneError, match=reason):
        source.scenes()
        source.load("a")


def test_questions_are_made_of_it_and_verified(file: Path, tmp_path: Path) -> None:
    manifest = generate(
        open_source(f"python:{file}:Rooms", scenes=1),
        tmp_path / "out",
        tasks="distance_prediction_oc,obj_spatial_relation_oo",
        per_task=5,
        width=96,
        progress=False,
    )
    report = verify(tmp_path / "out")
    assert report.ok and report.checked == manifest.records >= 10
    assert (tmp_path / "out/spar/rooms/images/a").is_dir() and str(file.parent) not in (
        tmp_path / "out/manifest.json"
    ).read_text()


def test_a_mesh_with_cameras_alone_is_enough(tmp_path: Path) -> None:
    """The notebook's second way, with the room's boxes known: drawn depth and ids lead back to
    them."""
    from spar_kit.scenes.box_room import box_room_scene
    from spar_kit.scenes.geometry.rasterizer import render_depth_and_ids
    from spar_kit.scenes.scene import Camera, OrientedBox

    toy = box_room_scene(5)
    camera = Camera.from_fov(160, 120, 70)
    for thing in toy.instances:
        points = toy.surface.vertices[
            toy.surface.triangles[toy.surface.triangle_instance == thing.id]
        ].reshape(-1, 3)
        assert np.linalg.norm(OrientedBox.fit(points).center - thing.box.center) < 1e-3
    table = toy.instance(4)
    seen = 0
    for frame in toy.frames:
        depth, ids, _ = render_depth_and_ids(toy.surface, camera, frame.camera_to_world)
        points = (
            camera.back_project(depth) @ frame.camera_to_world[:3, :3].T
            + frame.camera_to_world[:3, 3]
        )[ids == 4]
        assert table.box.contains(points, 0.002).all()
        seen += len(points)
    assert seen > 500
