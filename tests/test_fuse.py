"""A surface from depth images, and names from boxes."""

from dataclasses import replace

import numpy as np
import pytest
from toys import busy_room

from spar_kit.scenes.box_room import box_room_scene, toy_solids
from spar_kit.scenes.geometry.depth_fusion import (
    box_owner,
    connected_pixels,
    depth_mesh,
    fuse_depth,
    label_by_boxes,
    subsampled_camera,
)
from spar_kit.scenes.geometry.rasterizer import render_depth_and_ids
from spar_kit.scenes.scene import Camera, Instance, Mesh, OrientedBox, SceneError
from spar_kit.scenes.visibility import VisibilityThresholds, compute_visibility


def held(frame):
    """The frame with its images drawn once."""
    color = frame.read_color()
    depth = frame.read_depth()
    ids = frame.read_instances()
    return replace(
        frame, read_color=lambda: color, read_depth=lambda: depth, read_instances=lambda: ids
    )


@pytest.fixture(scope="module")
def toy():
    room = box_room_scene(frames=6, width=160)
    return room.with_frames([held(f) for f in room.frames])


@pytest.fixture(scope="module")
def busy():
    room = busy_room("room0000_00")
    return room.with_frames([held(f) for f in room.frames[::5]])


@pytest.fixture(scope="module")
def fused(busy):
    return fuse_depth(busy.frames, busy.instances)


def world(frame, points):
    return points @ frame.camera_to_world[:3, :3].T + frame.camera_to_world[:3, 3]


def agreement(surface, frames) -> float:
    """The smallest share of a frame's pixels that show the id that its instance image has."""
    return min(
        (render_depth_and_ids(surface, f.depth, f.camera_to_world)[1] == f.read_instances()).mean()
        for f in frames
    )


def test_one_image_is_repeated_to_the_pixel(busy):
    for frame in busy.frames[:4]:
        depth = frame.read_depth()
        ids = frame.read_instances()
        points, triangles, pixel = depth_mesh(depth, frame.depth)
        surface = Mesh(world(frame, points).astype(np.float32), triangles, ids.reshape(-1)[pixel])
        drawn, drawn_ids, _ = render_depth_and_ids(surface, frame.depth, frame.camera_to_world)
        assert np.array_equal(drawn_ids, ids) and np.array_equal(drawn > 0, depth > 0)
        assert np.median(np.abs(drawn - depth)) < 1e-5 and len(triangles) == 2 * (depth > 0).sum()


def test_vertices_lie_on_the_boxes(toy):
    """Not only where the camera looks along: the points themselves, to the millimeter; but for
    those that the edge of a thing pulls off it."""
    frame = toy.frames[2]
    points, triangles, pixel = depth_mesh(frame.read_depth(), frame.depth)
    corners = world(frame, points)
    distance = np.full(len(corners), np.inf)
    for s in toy_solids():
        q = np.abs((corners - s.box.center) @ s.box.axes) - s.box.size / 2
        distance = np.minimum(
            distance, np.abs(np.linalg.norm(np.maximum(q, 0), axis=1) + np.minimum(q.max(1), 0))
        )
    assert np.percentile(distance, 85) < 1e-3 and np.percentile(distance, 99) < 0.06


def test_a_plane_is_one_sheet_and_a_step_is_cut():
    camera = Camera.from_fov(40, 30, 70)
    rays = camera.back_project(np.ones((30, 40)))
    # a floor 1.5 m below: rows far away are half a meter apart
    floor = np.where(rays[..., 1] > 0.1, 1.5 / np.maximum(rays[..., 1], 0.1), 0)
    assert np.abs(np.diff(floor, axis=0)).max() > 1
    for depth in (floor, floor.T):
        linked = connected_pixels(depth, 0.05, 0.02)
        valid = (depth[:, 1:] > 0) & (depth[:, :-1] > 0)
        assert linked[valid].mean() > 0.97 and not linked[~valid].any()
    wall = np.full((30, 40), 3.0)
    wall[:, 20:] = 2.0
    assert (connected_pixels(wall, 0.05, 0.02).sum(1) == 38).all() and not connected_pixels(
        wall, 0.05, 0.02
    )[:, 19].any()
    points, triangles, _ = depth_mesh(wall, camera)
    # two sheets that share no corner
    assert len(points) == 31 * 21 * 2 and len(np.unique(np.round(points[:, 2], 9))) == 2
    # corners at the border lie half a pixel further on the same plane
    slanted = 2 / (1 - 0.3 * rays[..., 0] - 0.1 * rays[..., 1])
    x, y, z = depth_mesh(slanted, camera)[0].T
    assert np.abs(z - 2 - 0.3 * x - 0.1 * y).max() < 1e-9
    points, triangles, _ = depth_mesh(np.full((30, 40), 3.0), camera)
    assert len(points) == 31 * 41 and np.allclose(points[:, 2], 3)


def test_thinned_cameras_look_through_the_picked_pixels():
    camera = Camera(1280, 721, np.array([[900, 0, 630.0], [0, 910, 350], [0, 0, 1]]))
    small, s, k = subsampled_camera(camera, 320)
    assert (small.width, small.height, s, k) == (320, 180, 2, 4)
    points = camera.back_project(np.full((721, 1280), 2.0))[s::k, s::k]
    assert np.allclose(points, small.back_project(np.full((180, 320), 2.0)))
    assert (
        subsampled_camera(camera, 5000)[0].width == 1280
        and subsampled_camera(camera, 1)[0].width == 1
    )


def test_frames_agree_and_add_only_what_is_new(busy, fused):
    surface = fused
    everything = 2 * sum(int((f.read_depth() > 0).sum()) for f in busy.frames)
    assert agreement(surface, busy.frames) > 0.97 and len(surface.triangles) < 0.6 * everything
    again = fuse_depth([*busy.frames, *busy.frames], busy.instances)
    assert len(again.triangles) < 1.02 * len(surface.triangles)
    assert (
        surface.vertex_color is not None
        and fuse_depth(busy.frames[:1], color=False).vertex_color is None
    )


def test_colours_are_those_of_the_picture(toy):
    surface = fuse_depth(toy.frames, toy.instances)
    rgb = {s.id: np.array(s.rgb) for s in toy_solids()}
    for id in (4, 7, 8, 9):
        mine = (
            surface.vertex_color[surface.triangles[surface.triangle_instance == id]]
            .reshape(-1, 3)
            .astype(float)
        )
        hue = mine / mine.sum(1, keepdims=True)
        assert np.median(np.abs(hue - rgb[id] / rgb[id].sum()), axis=0).max() < 0.02


def test_a_flipped_axis_tears_the_room(busy, fused):
    frames = busy.frames[:3]
    assert agreement(fused, frames) > 0.97
    for axis in range(3):
        mirror = np.diag([-1.0 if k == axis else 1 for k in range(3)] + [1])
        for pose in (lambda p, m=mirror: p @ m, lambda p, m=mirror: m @ p):
            wrong = fuse_depth(
                [replace(f, camera_to_world=pose(f.camera_to_world)) for f in frames],
                busy.instances,
                color=False,
            )
            assert agreement(wrong, frames) < 0.7, axis


def test_the_same_objects_are_visible_but_for_the_share_of_unseen_sides(busy, fused):
    """Pixels and boxes decide alike; fractions are of what was seen, so they are larger."""
    rule = VisibilityThresholds(share=0)
    tables = compute_visibility(busy, rule), compute_visibility(replace(busy, surface=fused), rule)
    sets = [
        {(int(f), int(i)) for f, i, ok in zip(t.frame, t.instance, t.visible) if ok} for t in tables
    ]
    assert len(sets[0] ^ sets[1]) <= 0.05 * len(sets[0])
    share = [
        {(int(f), int(i)): s for f, i, s in zip(t.frame, t.instance, t.fraction)} for t in tables
    ]
    assert np.mean([share[1][k] >= share[0][k] - 0.02 for k in sets[0] & sets[1]]) > 0.95


def test_boxes_name_what_images_would(toy):
    assert agreement(fuse_depth(toy.frames, toy.instances, labels="boxes"), toy.frames) > 0.96


def test_ids_that_are_no_object_are_structure(toy):
    surface = fuse_depth(toy.frames, [i for i in toy.instances if i.id != 9])
    assert set(np.unique(surface.triangle_instance)) == {0, 1, 2, 3, 4, 6, 7, 8}
    assert set(np.unique(fuse_depth(toy.frames).triangle_instance)) - {0} == {
        1,
        2,
        3,
        4,
        6,
        7,
        8,
        9,
    }


def box(id: int, size: float, center=(0, 0, 1.0)) -> Instance:
    return Instance(id, "thing", OrientedBox(np.array(center), np.full(3, size), 0.3))


def test_the_smallest_box_wins_and_the_floor_is_no_furniture():
    things = [box(3, 1), box(5, 2), box(4, 0.5), box(9, 0.5)]
    points = np.array(
        [
            [0, 0, 1.0],
            [0, 0, 1.4],
            [0, 0, 1.9],
            [0, 0, 2.01],
            [0, 0, 2.03],
            [0, 0, 0.01],
            [0, 0, 0.03],
            [np.nan, 0, 0],
            [5, 5, 5],
        ]
    )
    assert box_owner(points, things).tolist() == [4, 3, 5, 5, 0, 0, 5, 0, 0]
    assert (
        box_owner(points, things, margin=0.5).tolist()[3:5] == [5, 5]
        and box_owner(points, []).tolist() == [0] * 9
    )
    flat = Instance(1, "rug", OrientedBox(np.array([0, 0, 0.005]), np.array([2, 2, 0.01])))
    # of a rug, a quarter of its height
    assert box_owner(np.array([[0, 0, 0.01], [0, 0, 0.001]]), [flat]).tolist() == [1, 0]
    surface = Mesh(
        points[:4].astype(np.float32),
        np.array([[0, 0, 0], [3, 3, 3]], np.int32),
        np.array([7, 7], np.int32),
    )
    assert label_by_boxes(surface, things).triangle_instance.tolist() == [4, 5]


def test_bad_frames_are_named_or_put_aside(toy):
    def broken():
        raise SceneError("damaged PNG image", "depth/1.png")

    good = toy.frames[0]
    bad = [
        replace(toy.frames[1], read_depth=broken),
        replace(toy.frames[2], read_instances=None),
        replace(toy.frames[3], read_depth=lambda: np.ones((4, 5), np.float32)),
        replace(toy.frames[4], read_instances=lambda: np.ones((4, 5), np.int32)),
        replace(toy.frames[5], read_color=broken),
    ]
    for frame, words in zip(
        bad,
        (
            "damaged PNG",
            "no instance image",
            "depth image is 5x4",
            "instance image is 5x4",
            "damaged PNG",
        ),
    ):
        with pytest.raises(SceneError, match=words):
            fuse_depth([good, frame])
    failed: list = []
    assert np.array_equal(
        fuse_depth([good, *bad], failed=failed).triangles, fuse_depth([good]).triangles
    ) and [f.index for f, _ in failed] == [1, 2, 3, 4, 5]


def test_depth_that_is_no_number_is_no_surface(toy):
    frame = toy.frames[0]
    depth = frame.read_depth().copy()
    depth[0, :4] = np.nan, np.inf, -1, 0
    surface = fuse_depth([replace(frame, read_depth=lambda: depth)])
    assert (
        np.isfinite(surface.vertices).all()
        and len(surface.triangles) == 2 * ((depth > 0) & np.isfinite(depth)).sum()
    )
    empty = fuse_depth([replace(frame, read_depth=lambda: np.zeros_like(depth))])
    assert len(empty.triangles) == 0 and len(fuse_depth([]).triangles) == 0


def test_memory_is_bounded(toy):
    with pytest.raises(SceneError, match="more than 1,000 triangles"):
        fuse_depth(toy.frames, limit=1000)
    assert len(fuse_depth(toy.frames, width=20).triangles) < 6 * 2 * 20 * 15
