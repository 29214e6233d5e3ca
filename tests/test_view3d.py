"""Figures of scenes: within their budget, complete, and not fooled by odd input."""

from dataclasses import replace

import numpy as np

from spar_kit.scenes.box_room import box_room_scene
from spar_kit.scenes.scene import Instance, Mesh, OrientedBox, Scene, look_at
from spar_kit.scenes.viewer import decimate, plot_floor_plan, plot_scene


def dense(seed: int, count: int) -> Mesh:
    """Small triangles all over two cubes of 1 m, two instances."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 1, (count, 1, 3)) + rng.normal(size=(count, 3, 3)) * 0.02
    id = rng.integers(1, 3, count).astype(np.int32)
    corners[id == 2] += [3, 0, 0]
    return Mesh(
        corners.reshape(-1, 3).astype(np.float32),
        np.arange(3 * count, dtype=np.int32).reshape(-1, 3),
        id,
        rng.integers(0, 255, (3 * count, 3)).astype(np.uint8),
    )


def test_decimate_keeps_to_budget_bounds_and_instances() -> None:
    surface = dense(0, 20_000)
    for budget in (100, 500, 5_000):
        points, triangles, rows = decimate(surface, np.arange(20_000), budget)
        assert (
            0 < len(triangles) <= budget
            and len(rows) == len(triangles)
            and triangles.max() < len(points)
        )
        side = np.where(points[triangles][..., 0].mean(1) > 2, 2, 1)
        # no vertex was joined across instances
        assert np.array_equal(side, surface.triangle_instance[rows])
        assert (points.min(0) >= surface.vertices.min(0) - 1e-5).all() and (
            points.max(0) <= surface.vertices.max(0) + 1e-5
        ).all()


def test_decimate_leaves_small_meshes_alone() -> None:
    surface = box_room_scene().surface
    points, triangles, rows = decimate(surface, np.arange(len(surface.triangles)), 1000)
    assert np.array_equal(
        points[triangles], surface.vertices[surface.triangles]
    ) and np.array_equal(rows, np.arange(len(triangles)))


def test_view_of_a_big_scene_is_small_and_without_ceiling() -> None:
    scene = box_room_scene()
    big = dense(1, 60_000)
    n = len(scene.surface.vertices)
    lid = np.array([[0, 0, 2.6], [5, 0, 2.6], [5, 4, 2.6], [0, 4, 2.6]], np.float32)
    surface = Mesh(
        np.concatenate([scene.surface.vertices, lid, big.vertices]),
        np.concatenate(
            [
                scene.surface.triangles,
                np.array([[0, 1, 2], [0, 2, 3]], np.int32) + n,
                big.triangles + n + 4,
            ]
        ),
        np.concatenate(
            [scene.surface.triangle_instance, [0, 0], big.triangle_instance * 0 + 4]
        ).astype(np.int32),
        np.zeros((n + 4 + len(big.vertices), 3), np.uint8),
    )
    figure = plot_scene(replace(scene, surface=surface), max_triangles=4_000)
    meshes = [trace for trace in figure.data if trace.type == "mesh3d"]
    assert sum(len(mesh.i) for mesh in meshes) <= 4_000 and len(figure.to_json()) < 500_000
    level_on_top = [
        np.isclose(np.stack([mesh.z[mesh.i], mesh.z[mesh.j], mesh.z[mesh.k]]), 2.6, atol=0.02)
        .all(0)
        .any()
        for mesh in meshes
    ]
    assert not any(level_on_top)
    assert figure.layout.title.text and figure.layout.scene.aspectmode == "data"


def test_labels_are_text_and_nan_is_left_out() -> None:
    scene = box_room_scene(frames=3)
    odd = Instance(
        50,
        '<b onmouseover="x">"q"\n\u6905\u5b50</b>',
        OrientedBox(np.array([1.0, 1, 1]), np.array([0.5, 0.4, 0.3])),
    )
    vertices = scene.surface.vertices.copy()
    vertices[0] = np.nan
    scene = replace(
        scene, instances=(*scene.instances, odd), surface=replace(scene.surface, vertices=vertices)
    )
    for figure in (
        plot_scene(scene, highlight=[50]),
        plot_floor_plan(
            scene, highlight={50: "red"}, frames=[0, 2], lines=[((0, 0), (1, 1, 1), "1.4 m")]
        ),
    ):
        text = figure.to_json()
        assert (
            "<b onmouseover" not in text
            and "\u6905\u5b50" in text.encode().decode("unicode_escape", "ignore") + text
        )
    meshes = [trace for trace in plot_scene(scene).data if trace.type == "mesh3d"]
    assert all(np.isfinite(np.stack([mesh.x, mesh.y, mesh.z])).all() for mesh in meshes)


def test_plan_puts_things_where_they_are() -> None:
    """A footprint's corners are the box's; a camera looking along -X has its wedge at smaller x,
    its left edge (image left) at smaller y."""
    scene = box_room_scene(frames=1)
    scene = replace(
        scene,
        frames=(
            replace(
                scene.frames[0],
                camera_to_world=look_at(np.array([4.0, 2, 1.5]), np.array([0.0, 2, 1.5])),
            ),
        ),
    )
    figure = plot_floor_plan(scene, frames=[0], reach=2.0, highlight={4: "red"})
    wedge = next(t for t in figure.data if t.text == "frame 0")
    assert np.isclose(wedge.x[0], 4) and min(wedge.x) < 2.1 and wedge.y[1] < 2 < wedge.y[-2]
    red = next(t for t in figure.data if t.line.color == "red")
    box = scene.instance(4).box
    assert np.isclose(
        np.hypot(np.diff(red.x), np.diff(red.y)), [box.size[1], box.size[0]] * 2
    ).all()
    assert np.allclose([np.mean(red.x[:4]), np.mean(red.y[:4])], box.center[:2])
    assert figure.layout.yaxis.scaleanchor == "x"


def test_empty_scene() -> None:
    nothing = Mesh(np.empty((0, 3), np.float32), np.empty((0, 3), np.int32), np.empty(0, np.int32))
    scene = Scene(name="empty", source="synthetic", frames=(), instances=(), surface=nothing)
    assert plot_scene(scene).layout.title.text and plot_floor_plan(scene).layout.title.text
