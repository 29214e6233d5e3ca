"""One floor for lists, questions and the oracle: its area, what encloses it, and what the oracle
says of a floor that is too large."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from spar_kit.data.generate import generate
from spar_kit.oracle.verify import verify
from spar_kit.scenes.geometry.floor import (
    enclosed,
    floor_area,
    floor_outline,
    outline_area,
    signed_area,
    trace,
)
from spar_kit.scenes.procedural.source import Synthetic
from spar_kit.scenes.readers.scannet.reader import ScanNet
from spar_kit.scenes.scene import Mesh, Scene
from spar_kit.scenes.summary import summarize
from spar_kit.scenes.visibility import compute_visibility
from spar_kit.tasks.registry import compute_facts, rng_for
from spar_kit.tasks.scene_index import index_scene
from spar_kit.tasks.thresholds import Thresholds

HOUSE = Path(__file__).parents[1].parent / "shared/data/small_house"


def measured(scene: Scene) -> Scene:
    """The scene as a scan that states no floor."""
    return replace(scene, floor=())


def without(scene: Scene, gone: NDArray) -> Scene:
    """The scene without some triangles."""
    surface = scene.surface
    return replace(
        scene,
        surface=Mesh(surface.vertices, surface.triangles[~gone], surface.triangle_instance[~gone]),
    )


def test_cells_become_polygons_of_the_same_area() -> None:
    cells = np.random.default_rng(1).random((30, 20)) < 0.6
    parts, holes = trace(cells)
    assert (
        sum(map(signed_area, parts + holes)) == cells.sum()
        and all(signed_area(p) > 0 for p in parts)
        and all(signed_area(h) < 0 for h in holes)
    )
    assert trace(np.zeros((3, 3), bool)) == ([], []) and outline_area([], []) is None


@pytest.mark.parametrize("name", ["train0000", "train0001", "train0005", "val0001"])
def test_a_synthetic_house_has_the_floor_of_its_plan(name: str) -> None:
    source = Synthetic(frames=4)
    plan = sum(room.area for room in source.house(name).rooms)
    assert floor_area(measured(source.load(name))) == pytest.approx(plan, rel=0.03)
    assert floor_area(source.load(name)) == pytest.approx(plan)


@pytest.mark.skipif(not HOUSE.is_dir(), reason="the small house is not here")
def test_the_small_house_has_the_floor_of_its_model() -> None:
    """The model's floor is one layer of triangles, cut at the border of the room."""
    source = ScanNet(root=HOUSE)
    for name in source.scenes():
        scene = source.load(name)
        ids = [i.id for i in scene.instances if i.label == "floor"]
        a, b, c = np.moveaxis(
            scene.surface.vertices[
                scene.surface.triangles[np.isin(scene.surface.triangle_instance, ids)]
            ].astype(float),
            1,
            0,
        )
        truth = abs(np.cross(b - a, c - a)[:, 2]).sum() / 2
        assert floor_area(scene) == pytest.approx(truth, rel=0.01)


def test_order_of_corners_furniture_and_strays_do_not_matter() -> None:
    scene = measured(Synthetic(frames=4).load("train0001"))
    area = floor_area(scene)
    surface = scene.surface
    turned = replace(scene, surface=replace(surface, triangles=surface.triangles[:, ::-1].copy()))
    assert floor_area(turned) == pytest.approx(area, rel=1e-6)
    corners = surface.vertices[surface.triangles]
    floor = next(i.id for i in scene.instances if i.label == "floor")
    middle = corners.mean(1)
    sofa = max(
        (i for i in scene.instances if i.box.center[2] < 0.6 and i.label not in ("wall", "floor")),
        key=lambda i: float(np.prod(i.box.size[:2])),
    )
    hidden = (surface.triangle_instance == floor) & sofa.box.contains(
        np.c_[middle[:, :2], np.full(len(middle), sofa.box.center[2])]
    )
    assert floor_area(without(scene, hidden)) == pytest.approx(area, rel=0.01)
    stray = np.array([[900, 900, 0], [901, 900, 0], [900, 901, 0], [np.nan, 0, 0]], np.float32)
    far = Mesh(
        np.concatenate([surface.vertices, stray]),
        np.concatenate(
            [surface.triangles, len(surface.vertices) + np.array([[0, 1, 2], [1, 2, 3]], np.int32)]
        ),
        np.concatenate([surface.triangle_instance, np.zeros(2, np.int32)]),
    )
    assert floor_area(replace(scene, surface=far)) == pytest.approx(area, rel=0.01)
    assert (
        floor_area(
            replace(
                scene,
                surface=Mesh(
                    surface.vertices, surface.triangles[:0], surface.triangle_instance[:0]
                ),
            )
        )
        is None
    )


def test_list_and_question_agree_and_open_floors_are_not_asked_for() -> None:
    scene = measured(Synthetic(frames=40).load("train0001"))

    def asked(scene: Scene, rules: Thresholds = Thresholds()) -> list[float]:
        facts = compute_facts(
            "room_size", index_scene(scene, compute_visibility(scene), rules), rng_for(0, "x"), 5
        )
        return [float(value) for value in facts.numbers["answer"]]

    assert asked(scene) == [pytest.approx(floor_area(scene))]
    assert (
        asked(scene, Thresholds(room=(3.0, 20.0))) == []
        and asked(scene, Thresholds(room=(30.0, 100.0))) == []
    )
    corners = scene.surface.vertices[scene.surface.triangles]
    # all that stands along one wall
    one = without(scene, (corners[..., 2].max(1) > 0.1) & (corners[..., 1].max(1) < 0.5))
    assert (
        enclosed(scene, floor_outline(scene)[0])
        > 0.95
        > 0.85
        > enclosed(one, floor_outline(one)[0])
        and asked(one) == []
    )

    class Plain(Synthetic):
        def load(self, name: str) -> Scene:
            return measured(super().load(name))

    assert summarize(Plain(frames=4), "train0001").area == pytest.approx(floor_area(scene))


class Scans(Synthetic):
    """Synthetic rooms that state no floor."""

    def load(self, scene: str) -> Scene:
        return measured(super().load(scene))

    def scenes(self, split: str | None = None) -> list[str]:
        return ["train0001"]


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("floor") / "data"
    generate(Scans(frames=40), folder, tasks="room_size", progress=False)
    return folder


def test_the_oracle_takes_the_floor(scans: Path) -> None:
    report = verify(scans)
    assert report.ok and report.checked and not report.not_checkable


@pytest.mark.parametrize(
    "grow, why",
    [(0.08, "behind the walls"), (3.0, "the depth images show"), (8.0, "the depth images show")],
)
def test_the_oracle_refuses_a_floor_that_is_too_large(
    scans: Path, tmp_path: Path, grow: float, why: str
) -> None:
    """As the old outline was, which went round the walls; and one far too large."""
    shutil.copytree(scans, tmp_path / "data")
    path = tmp_path / "data/spar/synthetic/images/train0001/instances.json"
    document = json.loads(path.read_text())
    low = np.array(document["floor"][0]).min(0) - grow
    high = np.array(document["floor"][0]).max(0) + grow
    document["floor"] = [
        [[low[0], low[1]], [high[0], low[1]], [high[0], high[1]], [low[0], high[1]]]
    ]
    path.write_text(json.dumps(document))
    area = float(np.prod(high - low))
    for file in (tmp_path / "data").glob("spar/synthetic/qa_jsonl/train/room_size/fill/*.jsonl"):
        record = json.loads(file.read_text())
        record["facts"]["answer"] = area
        record["conversations"][1]["value"] = record["conversations"][1]["value"].replace(
            str(round(22)), str(round(area))
        )
        file.write_text(json.dumps(record) + "\n")
    reasons = [
        m.reason
        for m in verify(tmp_path / "data").tasks["room_size"].mismatches
        if "/fill/" in m.file
    ]
    assert reasons and all(why in reason for reason in reasons)
