"""Which objects a scan has whole: cut meshes, cut annotations, things that no frame shows whole, and what is not asked of them."""
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from toys import busy_room

from spar_kit.data.one_scene import Plan, build_lines
from spar_kit.scenes.completeness import CUT_OFF, NOT_SHOWN, WHOLE, best_frames, incomplete, scan_ends
from spar_kit.scenes.scene import OrientedBox, Scene, Surface
from spar_kit.scenes.synthetic import Synthetic
from spar_kit.scenes.visibility import see
from spar_kit.tasks.facts import compute_facts
from spar_kit.tasks.observation import observe
from spar_kit.tasks.task import TASKS, random_generator

STRUCTURE = ("wall", "floor", "ceiling")
MEASURED = [name for name in TASKS if name.startswith(("depth", "distance", "spatial", "obj_spatial"))]


def finer(surface: Surface, times: int = 3) -> Surface:
    """The same surface in triangles of half the size, so many times."""
    for _ in range(times):
        t, v = surface.triangles, surface.vertices
        middle = [(v[t[:, k]] + v[t[:, (k + 1) % 3]]) / 2 for k in range(3)]
        new = [len(v) + k * len(t) + np.arange(len(t)) for k in range(3)]
        parts = [(t[:, 0], new[0], new[2]), (new[0], t[:, 1], new[1]), (new[2], new[1], t[:, 2]), (new[0], new[1], new[2])]
        surface = Surface(np.concatenate([v, *middle]), np.concatenate([np.stack(p, 1) for p in parts]).astype(np.int32), np.tile(surface.triangle_instance, 4))
    return surface


def cut(scene: Scene, id: int, keeps: Callable[[NDArray], NDArray], annotation: bool = False) -> Scene:
    """The scene without that part of an object, whose box is fitted anew: out of the mesh, or only out of the annotation. `keeps` is told the middles
    of triangles in the box's own axes, as shares of its half sides."""
    surface, box = finer(scene.surface), scene.instance(id).box
    middle = (surface.vertices[surface.triangles].mean(1) - box.center) @ box.axes / (box.size / 2)
    gone = (surface.triangle_instance == id) & ~keeps(middle)
    owner = np.where(gone, 0, surface.triangle_instance)
    left = OrientedBox.around(surface.vertices[np.unique(surface.triangles[owner == id])])
    surface = Surface(surface.vertices, surface.triangles, owner) if annotation else Surface(surface.vertices, surface.triangles[~gone], owner[~gone])
    return replace(scene, surface=surface, instances=tuple(replace(i, box=left) if i.id == id else i for i in scene.instances))


@pytest.fixture(scope="module")
def room() -> Scene:
    return busy_room("room0000_00")


def things_of(scene: Scene) -> list[int]:
    return [i.id for i in scene.instances if i.label not in STRUCTURE]


@pytest.mark.parametrize("annotation", [False, True])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_cut_object_is_found_and_no_other(room: Scene, axis: int, annotation: bool) -> None:
    best = best_frames(room, see(room))
    for id in [id for id in things_of(room) if best[id].share > .95][:3]:
        scan = cut(room, id, lambda middle: middle[:, axis] < .2, annotation)
        assert set(scan_ends(scan, things_of(scan))) == {id}


def test_whole_rooms_lose_only_what_no_frame_shows_whole(room: Scene) -> None:
    for scene in (room, Synthetic(frames=40).load("train0001")):
        table = see(scene)
        missing = incomplete(scene, table, things_of(scene))
        assert set(missing.values()) <= {NOT_SHOWN} and len(missing) < .2 * len(things_of(scene))
        assert all(best_frames(scene, table)[id].share < WHOLE for id in missing)


def test_nothing_is_measured_of_a_cut_object(room: Scene) -> None:
    id = next(id for id, best in best_frames(room, see(room)).items() if best.share > .95 and id in things_of(room))
    scan = cut(room, id, lambda middle: middle[:, 0] < .2)
    observation = observe(scan, see(scan))
    assert not observation.whole[observation.ids == id].any() and observation.incomplete[CUT_OFF] == 1
    asked = {name: compute_facts(name, observation, random_generator(1, "room", name), 60) for name in MEASURED}
    assert all(len(facts) for name, facts in asked.items() if "video" not in name or name.endswith("_video"))
    for name, facts in asked.items():
        assert id not in facts.objects, name
    located = compute_facts("obj_frame_locate", observation, random_generator(1, "room"), 60)
    assert id in located.objects                                       # where it is to be seen is known
    before = observe(room, see(room))
    assert id in compute_facts("spatial_volume_infer", before, random_generator(1, "room"), 200).objects


def test_the_manifest_counts_them(room: Scene) -> None:
    id = next(id for id, best in best_frames(room, see(room)).items() if best.share > .95 and id in things_of(room))
    head, *_ = build_lines(Plan(Synthetic(), "train", ("spatial_volume_infer",)), cut(room, id, lambda middle: middle[:, 0] < .2))
    assert head["incomplete"][CUT_OFF] == 1 and head["objects_whole"] == head["objects"] - sum(head["incomplete"].values())
