"""The z-buffer and the visibility table against ray casting (Open3D's Embree) and plain numpy."""

from dataclasses import fields, replace

import numpy as np
import pytest
from scipy import ndimage

from spar_kit.scenes.scene import (
    Camera,
    Frame,
    Instance,
    Mesh,
    OrientedBox,
    Scene,
    SceneError,
    look_at,
)
from spar_kit.scenes.visibility import (
    VisibilityThresholds,
    compute_visibility,
    load,
    raster_camera,
    render_depth_and_ids,
    sample_surface,
    save,
)

o3d = pytest.importorskip("open3d", exc_type=ImportError)
NEAR = 0.05
# neither centered nor square, so that a swapped or flipped axis shows
CAMERA = Camera(320, 240, np.array([[290.0, 0, 141.3], [0, 310, 99.7], [0, 0, 1]]))


def no_image():
    raise NotImplementedError


def box_surface(boxes: list[tuple[int, OrientedBox]], cuts: int = 1) -> Mesh:
    """Boxes whose faces are cut into 2 cuts^2 triangles each."""
    s, t = (
        g.ravel()
        for g in np.meshgrid(
            np.linspace(-0.5, 0.5, cuts + 1), np.linspace(-0.5, 0.5, cuts + 1), indexing="ij"
        )
    )
    q = (np.arange(cuts)[:, None] * (cuts + 1) + np.arange(cuts)).ravel()
    faces = np.concatenate(
        [np.stack([q, q + 1, q + cuts + 2], -1), np.stack([q, q + cuts + 2, q + cuts + 1], -1)]
    )
    vertices = []
    triangles = []
    ids = []
    for id, box in boxes:
        for axis in range(3):
            for side in (-0.5, 0.5):
                local = np.zeros((len(s), 3))
                local[:, axis], local[:, (axis + 1) % 3], local[:, (axis + 2) % 3] = side, s, t
                triangles.append(faces + sum(map(len, vertices)))
                vertices.append(box.center + (local * box.size) @ box.axes.T)
                ids.append(np.full(len(faces), id))
    return Mesh(
        np.concatenate(vertices).astype(np.float32),
        np.concatenate(triangles).astype(np.int32),
        np.concatenate(ids).astype(np.int32),
    )


def make_scene(seed: int = 0, objects: int = 12, frames: int = 10) -> Scene:
    """A 6 m x 5 m room (id 0) with boxes on the floor that do not touch, one body (id 99) that is
    no instance, and level and rolled cameras."""
    rng = np.random.default_rng(seed)
    cells = np.stack(np.meshgrid(np.arange(4), np.arange(4), indexing="ij"), -1).reshape(-1, 2)[
        rng.permutation(16)[: objects + 1]
    ]
    boxes = []
    for id, (i, j) in zip([99, *range(3, 3 + objects)], cells):
        size = np.array([*rng.uniform(0.3, 0.7, 2), rng.uniform(0.3, 1.4)])
        boxes.append(
            (
                id,
                OrientedBox(
                    np.array([i * 1.3 - 1.95, j * 1.1 - 1.65, size[2] / 2 + 0.01]),
                    size,
                    rng.uniform(0, np.pi),
                ),
            )
        )
    room = (0, OrientedBox(np.array([0, 0, 1.3]), np.array([6.0, 5, 2.6])))
    poses = []
    for k in range(frames):
        eye = np.array([2.7 * np.cos(k), 2.2 * np.sin(k), 1.2 + 0.1 * k])
        pose = look_at(eye, np.array([*rng.uniform(-0.8, 0.8, 2), rng.uniform(0.2, 1)]))
        roll = rng.uniform(-0.4, 0.4) * (k % 2)
        pose[:3, :3] = pose[:3, :3] @ np.array(
            [[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]]
        )
        poses.append(pose)
    return Scene(
        name=f"boxes{seed}",
        source="synthetic",
        frames=tuple(
            Frame(3 * k, pose, CAMERA, CAMERA, no_image, no_image) for k, pose in enumerate(poses)
        ),
        instances=tuple(Instance(id, f"box {id}", box) for id, box in boxes if id != 99),
        surface=box_surface([room, *boxes], 3),
    )


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene()


@pytest.fixture(scope="module")
def table(scene: Scene):
    return compute_visibility(scene)


def caster(surface: Mesh):
    mesh = o3d.t.geometry.RaycastingScene()
    mesh.add_triangles(
        o3d.core.Tensor(surface.vertices), o3d.core.Tensor(surface.triangles.astype(np.uint32))
    )

    def cast(pose: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Depth and instance along camera-frame directions (..., 3) with z = 1, from z = NEAR
        on."""
        rays = directions @ pose[:3, :3].T
        hit = mesh.cast_rays(
            o3d.core.Tensor(
                np.concatenate([pose[:3, 3] + NEAR * rays, rays], -1).astype(np.float32)
            )
        )
        z = hit["t_hit"].numpy() + NEAR
        triangle = hit["primitive_ids"].numpy().astype(np.int64)
        return z, np.where(
            np.isfinite(z), surface.triangle_instance[np.where(np.isfinite(z), triangle, 0)], -1
        )

    return cast


def pixel_rays(camera: Camera) -> np.ndarray:
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    return np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(camera.intrinsics).T


def soup(count: int, size: float, seed: int) -> Mesh:
    rng = np.random.default_rng(seed)
    corners = (
        rng.uniform([-3, -3, 0], [3, 3, 3], (count, 1, 3)) + rng.normal(size=(count, 3, 3)) * size
    )
    return Mesh(
        corners.reshape(-1, 3).astype(np.float32),
        np.arange(3 * count, dtype=np.int32).reshape(-1, 3),
        rng.integers(0, 30, count).astype(np.int32),
    )


@pytest.mark.parametrize(("count", "size"), [(200, 0.8), (4000, 0.1), (40000, 0.03)])
def test_triangle_soup_agrees_with_ray_casting(count: int, size: float) -> None:
    """Triangles everywhere: around, behind and through the camera."""
    surface = soup(count, size, count)
    cast = caster(surface)
    rays = pixel_rays(CAMERA)
    for k in range(4):
        pose = look_at(np.array([0.3, 0.2, 1.5]), np.array([np.cos(k * 1.7), np.sin(k * 1.7), 1.3]))
        depth, ids, triangle = render_depth_and_ids(surface, CAMERA, pose)
        z, expected = cast(pose, rays)
        assert ((triangle >= 0) == (expected >= 0)).mean() >= 0.999
        same = ids == np.maximum(expected, 0)
        assert same.mean() >= 0.999
        same &= expected >= 0
        assert (np.abs(depth - z)[same] <= 1e-4).mean() >= 0.9999 and same.any()
        assert (depth[triangle < 0] == 0).all() and (ids[triangle < 0] == 0).all()
        assert (surface.triangle_instance[triangle[triangle >= 0]] == ids[triangle >= 0]).all()


def test_room_agrees_with_ray_casting_and_has_no_holes(scene: Scene) -> None:
    cast = caster(scene.surface)
    rays = pixel_rays(CAMERA)
    for frame in scene.frames:
        depth, ids, triangle = render_depth_and_ids(scene.surface, CAMERA, frame.camera_to_world)
        z, expected = cast(frame.camera_to_world, rays)
        assert (triangle >= 0).all()
        assert (ids == expected).mean() >= 0.999
        assert np.abs(depth - z)[ids == expected].max() <= 1e-4


def test_axis_aligned_view_of_a_tiled_wall_has_no_holes() -> None:
    """Shared edges run exactly through pixel centers here, where a careless fill rule leaves
    holes."""
    camera = Camera(129, 97, np.array([[64.0, 0, 64], [0, 64, 48], [0, 0, 1]]))
    wall = box_surface([(1, OrientedBox(np.array([2.5, 0, 0]), np.array([1.0, 8, 8])))], 16)
    depth, ids, _ = render_depth_and_ids(wall, camera, look_at(np.zeros(3), np.array([1.0, 0, 0])))
    assert (ids == 1).all() and np.allclose(depth, 2, atol=1e-6)


def test_same_bytes_every_time(scene: Scene) -> None:
    first, again = (
        render_depth_and_ids(scene.surface, CAMERA, scene.frames[1].camera_to_world)
        for _ in range(2)
    )
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, again))
    a = compute_visibility(scene, width=160)
    b = compute_visibility(scene, width=160)
    assert all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))


def test_directions() -> None:
    """From the origin along +X: what lies at +Y is on the left, what lies at +Z above; nearer hides
    farther."""
    spots = {
        1: [3, 1, 0],
        2: [3, -1, 0],
        3: [3, 0, 0.8],
        4: [3, 0, -0.8],
        5: [2, 0, 0],
        6: [4, 0, 0],
        7: [-3, 0, 0],
    }
    surface = box_surface(
        [(id, OrientedBox(np.array(c, float), np.full(3, 0.4))) for id, c in spots.items()]
    )
    _, ids, _ = render_depth_and_ids(surface, CAMERA, look_at(np.zeros(3), np.array([1.0, 0, 0])))
    u = {}
    v = {}
    for id in spots:
        if (ids == id).any():
            v[id], u[id] = np.argwhere(ids == id).mean(0)
    assert set(u) == {1, 2, 3, 4, 5}
    assert u[1] < u[5] < u[2] and v[3] < v[5] < v[4]
    assert abs(u[5] - 141.3) < 1 and abs(v[5] - 99.7) < 1


def without_specks(mask: np.ndarray) -> np.ndarray:
    """The pixels with another one within 4 pixels; all where none has."""
    firm = mask & (ndimage.convolve(mask.astype(int), np.ones((9, 9), int), mode="constant") > 1)
    return firm if firm.any() else mask


def test_visible_sets_are_those_of_ray_casting(scene: Scene, table) -> None:
    """Precision = recall = 1: the rows are exactly the (frame, instance) pairs that a ray meets,
    with as many pixels, box and border."""
    cast = caster(scene.surface)
    rays = pixel_rays(CAMERA)
    known = [instance.id for instance in scene.instances]
    for f, frame in enumerate(scene.frames):
        _, expected = cast(frame.camera_to_world, rays)
        rows = table.rows(f)
        assert table.instance[rows].tolist() == [id for id in known if (expected == id).any()]
        for r in range(rows.start, rows.stop):
            mask = expected == table.instance[r]
            assert abs(int(table.pixels[r]) - mask.sum()) <= max(2, 0.002 * mask.sum())
            mask = without_specks(mask)
            y, x = np.nonzero(mask)
            box = [x.min() / 320, y.min() / 240, (x.max() + 1) / 320, (y.max() + 1) / 240]
            assert np.allclose(table.box[r], np.array(box) * 1000, atol=1000 / 240 + 0.01)
            assert table.truncated[r] == bool(
                mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any()
            )
    assert 99 not in table.instance and (np.diff(table.frame) >= 0).all()


def test_points_lie_on_their_objects(scene: Scene, table) -> None:
    """By hand: K R^T (c - t), and where that is not on the object, the nearest pixel of its box
    that is."""
    K = CAMERA.intrinsics
    on_center = 0
    for r in range(len(table)):
        frame = scene.frames[table.frame[r]]
        R = frame.camera_to_world[:3, :3]
        t = frame.camera_to_world[:3, 3]
        center = np.linalg.solve(R, scene.instance(table.instance[r]).box.center - t)
        assert np.allclose(table.center[r], center, atol=1e-9)
        mask = (
            render_depth_and_ids(scene.surface, CAMERA, frame.camera_to_world)[1]
            == table.instance[r]
        )
        u, v = table.point[r] * [0.32, 0.24] - 0.5
        x = int(np.floor(u + 0.5))
        y = int(np.floor(v + 0.5))
        assert mask[y, x]
        if center[2] > 0:
            projected = (K @ center / center[2])[:2]
            i, j = np.floor(projected + 0.5).astype(int)
            if 0 <= i < 320 and 0 <= j < 240 and mask[j, i]:
                assert np.allclose([u, v], projected, atol=1e-3)
                on_center += 1
            else:
                yy, xx = np.nonzero(without_specks(mask))
                low = (xx.min(), yy.min())
                high = (xx.max(), yy.max())
                yy, xx = np.nonzero(mask)
                boxed = (xx >= low[0]) & (xx <= high[0]) & (yy >= low[1]) & (yy <= high[1])
                yy = yy[boxed]
                xx = xx[boxed]
                assert np.isclose(
                    np.hypot(xx - projected[0], yy - projected[1]).min(),
                    np.hypot(*([u, v] - projected)),
                    atol=1e-3,
                )
    assert 0.2 * len(table) < on_center < len(table)


def test_fraction_and_overlap_agree_with_rays_to_random_points(scene: Scene, table) -> None:
    """Other points (random, ten times as many) and the ray's own depth instead of a pixel's."""
    cast = caster(scene.surface)
    rng = np.random.default_rng(5)
    corners = scene.surface.vertices.astype(float)[scene.surface.triangles]
    area = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )

    def spread(rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = rng.choice(rows, count, p=area[rows] / area[rows].sum())
        a, b = rng.random((2, count, 1))
        a, b = np.where(a + b > 1, 1 - a, a), np.where(a + b > 1, 1 - b, b)
        t = corners[chosen]
        return (
            t[:, 0] + a * (t[:, 1] - t[:, 0]) + b * (t[:, 2] - t[:, 0]),
            scene.surface.triangle_instance[chosen],
        )

    def found(frame: Frame, points: np.ndarray, ids: np.ndarray) -> np.ndarray:
        q = (points - frame.camera_to_world[:3, 3]) @ frame.camera_to_world[:3, :3]
        uv, z = CAMERA.project(q)
        inside = (z > NEAR) & (uv > -0.5).all(-1) & (uv < [319.5, 239.5]).all(-1)
        hit, id = cast(frame.camera_to_world, q / np.where(z > NEAR, z, 1)[:, None])
        return inside & (
            (hit >= z - 1e-4) | ((id == ids) & (hit >= z - np.maximum(0.05, 0.02 * z)))
        )

    error = []
    for instance in scene.instances:
        points, ids = spread(np.flatnonzero(scene.surface.triangle_instance == instance.id), 2560)
        for f, frame in enumerate(scene.frames):
            row = np.flatnonzero((table.frame == f) & (table.instance == instance.id))
            expected = found(frame, points, ids).mean()
            error.append((table.fraction[row[0]] if len(row) else 0) - expected)
    # a face seen at a grazing angle changes its depth by more than the tolerance within a pixel:
    # single rows may differ by a few points
    assert np.abs(error).max() < 0.08 and np.std(error) < 0.02 and abs(np.mean(error)) < 0.005
    points, ids = spread(np.arange(len(area)), 40000)
    shared = np.array([found(frame, points, ids) for frame in scene.frames], float)
    expected = shared @ shared.T / np.minimum.outer(shared.sum(1), shared.sum(1))
    assert np.abs(table.overlap - expected).max() < 0.04
    assert np.array_equal(table.overlap, table.overlap.T) and (np.diag(table.overlap) == 1).all()


def test_rule(scene: Scene) -> None:
    for width in (320, 160):
        table = compute_visibility(
            scene, VisibilityThresholds(share=0.6, pixels=900, plenty=6000, side=60), width
        )
        pixels = table.pixels * (640 * 480 / np.prod(table.raster))
        enough = (table.share * np.maximum(pixels / 6000, 1) >= 0.6) & (pixels >= 900)
        sides = np.minimum(table.box[:, 2] - table.box[:, 0], table.box[:, 3] - table.box[:, 1])
        assert np.array_equal(
            table.visible, enough & (sides >= 60)
        ) and 0 < table.visible.sum() < len(table)


def test_a_speck_does_not_widen_a_box() -> None:
    """A cupboard straight ahead, and far to its right a sliver of it that one ray of the raster
    meets: a pixel more, in the same box."""

    def corners(*places: tuple[float, float]) -> list[list[float]]:
        # at these pixels, 2 m ahead
        return [[(u - 141.3) * 2 / 290, 2.0, -(v - 99.7) * 2 / 310] for u, v in places]

    pose = look_at(np.zeros(3), np.array([0, 1.0, 0]))
    cupboard, sliver, pair = (
        corners(*places)
        for places in (
            [(99.6, 79.6), (140.4, 79.6), (140.4, 120.4), (99.6, 120.4)],
            [(249.8, 49.8), (250.2, 49.8), (250.2, 50.2), (249.8, 50.2)],
            [(249.8, 49.8), (251.2, 49.8), (251.2, 50.2), (249.8, 50.2)],
        )
    )
    # at (144, 100), four pixels beside it
    near = [[x - (250 - 144) * 2 / 290, y, z - (100 - 50) * 2 / 310] for x, y, z in sliver]
    whole = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    thing = (Instance(4, "cupboard", OrientedBox(np.array([0, 2.0, 0]), np.ones(3))),)
    boxes = {}
    for name, extra in (("alone", []), ("sliver", sliver), ("pair", pair), ("near", near)):
        faces = np.concatenate([whole, whole + 4] if extra else [whole])
        surface = Mesh(
            np.array([*cupboard, *extra], np.float32), faces, np.full(len(faces), 4, np.int32)
        )
        table = compute_visibility(
            Scene(
                name="speck",
                source="synthetic",
                frames=(Frame(0, pose, CAMERA, CAMERA, no_image, no_image),),
                instances=thing,
                surface=surface,
            )
        )
        boxes[name] = (
            table.pixels.tolist(),
            (table.box[0] * [0.32, 0.24, 0.32, 0.24]).round(3).tolist(),
        )
    assert boxes == {
        "alone": ([41 * 41], [100, 80, 141, 121]),
        "sliver": ([41 * 41 + 1], [100, 80, 141, 121]),
        "pair": ([41 * 41 + 2], [100, 50, 252, 121]),
        "near": ([41 * 41 + 1], [100, 80, 145, 121]),
    }


def test_sizes_of_the_raster() -> None:
    assert (
        raster_camera(Camera.from_fov(1296, 968, 60)).height,
        raster_camera(Camera.from_fov(64, 48, 60)).width,
    ) == (239, 64)
    assert raster_camera(Camera.from_fov(5000, 2, 60)).height == 1


def test_frames_of_different_size(scene: Scene) -> None:
    """A portrait and a landscape image in one scene: boxes and thresholds follow each frame's own
    raster."""
    tall = Camera(240, 320, np.array([[290.0, 0, 99], [0, 310, 141], [0, 0, 1]]))
    frames = (scene.frames[0], replace(scene.frames[0], color=tall))
    table = compute_visibility(scene.with_frames(frames))
    mask = render_depth_and_ids(scene.surface, tall, frames[1].camera_to_world)[1]
    for r in range(len(table))[table.rows(1)]:
        y, x = np.nonzero(without_specks(mask == table.instance[r]))
        assert np.allclose(
            table.box[r],
            np.array([x.min() / 240, y.min() / 320, (x.max() + 1) / 240, (y.max() + 1) / 320])
            * 1000,
            atol=0.01,
        )


def test_nothing_to_see(scene: Scene) -> None:
    empty = Mesh(np.empty((0, 3), np.float32), np.empty((0, 3), np.int32), np.empty(0, np.int32))
    no_frames = compute_visibility(replace(scene, frames=()))
    no_objects = compute_visibility(replace(scene, instances=()))
    no_mesh = compute_visibility(replace(scene, surface=empty))
    for table, F in ((no_frames, 0), (no_objects, 10), (no_mesh, 10)):
        assert len(table) == 0 and table.overlap.shape == (F, F)
        assert (
            table.box.shape == (0, 4)
            and table.point.shape == (0, 2)
            and table.center.shape == (0, 3)
            and table.visible.dtype == bool
        )
    assert (no_mesh.overlap == 0).all() and (np.diag(no_objects.overlap) == 1).all()
    away = compute_visibility(
        scene.with_frames(
            [
                replace(
                    scene.frames[0],
                    camera_to_world=look_at(np.array([50.0, 0, 1]), np.array([60.0, 0, 1])),
                )
            ]
        )
    )
    assert len(away) == 0 and away.overlap.tolist() == [[0]]


def test_bad_meshes(scene: Scene, table) -> None:
    """Vertices that are not numbers or are absurdly far, triangles without area, instances that the
    mesh does not know: served."""
    v = scene.surface.vertices
    t = scene.surface.triangles
    i = scene.surface.triangle_instance
    n = len(v)
    extra = np.array([[np.nan, 0, 1], [np.inf, 0, 1], [3e38, 3e38, 3e38], [0, 0, 1]], np.float32)
    bad = Mesh(
        np.append(v, extra, 0),
        np.append(t, [[0, 1, n], [0, 1, n + 1], [n + 3] * 3, [0, 0, 1]], 0).astype(np.int32),
        np.append(i, [3, 4, 5, 6]).astype(np.int32),
    )
    ghost = Instance(1000, "ghost", OrientedBox(np.zeros(3), np.zeros(3)))
    got = compute_visibility(replace(scene, surface=bad, instances=(*scene.instances, ghost)))
    assert all(np.array_equal(getattr(got, f.name), getattr(table, f.name)) for f in fields(table))
    nan_box = Instance(3, "nan", OrientedBox(np.full(3, np.nan), np.ones(3)))
    odd = compute_visibility(replace(scene, instances=(nan_box, *scene.instances[1:])))
    assert np.isfinite(odd.point).all()
    far = Mesh(
        np.append(v, extra, 0),
        np.append(t, [[0, 1, n + 2]], 0).astype(np.int32),
        np.append(i, [0]).astype(np.int32),
    )
    assert np.isfinite(render_depth_and_ids(far, CAMERA, scene.frames[0].camera_to_world)[0]).all()
    for wrong in (
        replace(scene.surface, triangles=t + n),
        replace(scene.surface, triangles=t - 1),
        replace(scene.surface, triangle_instance=i[:-1]),
    ):
        with pytest.raises(ValueError):
            compute_visibility(replace(scene, surface=wrong))


def test_camera_inside_an_object() -> None:
    box = OrientedBox(np.array([0, 0, 1.0]), np.array([1.0, 1, 1]))
    scene = Scene(
        name="inside",
        source="synthetic",
        frames=(
            Frame(
                0, look_at(box.center, np.array([3.0, 1, 1])), CAMERA, CAMERA, no_image, no_image
            ),
        ),
        instances=(Instance(7, "box", box),),
        surface=box_surface([(7, box)]),
    )
    table = compute_visibility(scene)
    assert (
        table.pixels.tolist() == [320 * 240]
        and table.box.tolist() == [[0, 0, 1000, 1000]]
        and table.truncated.all()
    )
    assert np.isfinite(table.point).all()  # the center lies in the camera


def test_samples_follow_area() -> None:
    surface = box_surface([(0, OrientedBox(np.zeros(3), np.array([4.0, 1, 0.1])))], 2)
    points, rows = sample_surface(surface, np.zeros(len(surface.triangles), int), 1, 1000)
    on_top = np.isclose(points[0, :, 2], 0.05, atol=1e-6)
    assert abs(on_top.mean() - 4 / (8 + 0.8 + 0.2)) < 0.01
    assert np.abs(points[0, on_top, :2].mean(0)).max() < 0.05 and (rows >= 0).all()
    none, rows = sample_surface(surface, np.full(len(surface.triangles), -1), 2, 8)
    assert np.isnan(none).all() and (rows == -1).all()


def test_kept_tables(scene: Scene, tmp_path) -> None:
    path = tmp_path / "deep" / "table.npz"
    first = compute_visibility(scene, cache=path)
    stamp = path.stat().st_mtime_ns
    again = compute_visibility(scene, cache=path)
    assert (
        path.stat().st_mtime_ns == stamp
        and again.rule == first.rule
        and again.raster == first.raster
    )
    for f in fields(first):
        a = getattr(first, f.name)
        b = getattr(again, f.name)
        assert np.array_equal(a, b) and getattr(a, "dtype", None) == getattr(b, "dtype", None)
    # stale: another rule, another pose, another box, another mesh
    moved = replace(scene.frames[0], camera_to_world=scene.frames[1].camera_to_world)
    shifted = replace(scene.surface, vertices=scene.surface.vertices + np.float32(0.01))
    for other in (
        replace(scene, frames=(moved, *scene.frames[1:])),
        replace(scene, surface=shifted),
        replace(scene, instances=scene.instances[1:]),
    ):
        compute_visibility(scene, cache=path)
        got = compute_visibility(other, cache=path)
        fresh = compute_visibility(other)
        assert np.array_equal(got.pixels, fresh.pixels) and np.array_equal(
            got.instance, fresh.instance
        )
    assert compute_visibility(scene, VisibilityThresholds(share=0.5), cache=path).rule.share == 0.5
    # damaged: made anew by `compute_visibility`, refused by `load`
    data = path.read_bytes()
    for broken in (
        data[: len(data) // 2],
        b"",
        b"PK\x03\x04 not a zip",
        data[:200] + b"\0" * 64 + data[264:],
    ):
        path.write_bytes(broken)
        with pytest.raises(SceneError, match="table.npz"):
            load(path)
        assert np.array_equal(compute_visibility(scene, cache=path).pixels, first.pixels)
    with pytest.raises(SceneError, match="missing"):
        load(tmp_path / "missing.npz")
    save(first, path, "mine")
    with pytest.raises(SceneError, match="key"):
        load(path, "yours")
    # one of version 1, which had no ground
    with np.load(path, allow_pickle=False) as file:
        older = {name: file[name] for name in file if name not in ("ground", "grid")}
    np.savez_compressed(path, **older)
    with pytest.raises(SceneError, match="ground"):
        load(path, "mine")
    again = compute_visibility(scene, cache=path)
    assert (
        np.array_equal(again.ground, first.ground) and load(path).grid == again.grid == first.grid
    )
    assert [p.name for p in path.parent.iterdir()] == ["table.npz"]


def test_a_million_triangles() -> None:
    rows = 708
    columns = 708
    v, u = np.mgrid[: rows + 1, : columns + 1]
    vertices = (
        np.stack([np.full(u.shape, 3.0), 2 - u * 4 / columns, 2 - v * 4 / rows], -1)
        .reshape(-1, 3)
        .astype(np.float32)
    )
    q = (np.arange(rows)[:, None] * (columns + 1) + np.arange(columns)).ravel()
    triangles = np.concatenate(
        [
            np.stack([q, q + 1, q + columns + 2], -1),
            np.stack([q, q + columns + 2, q + columns + 1], -1),
        ]
    ).astype(np.int32)
    depth, ids, _ = render_depth_and_ids(
        Mesh(vertices, triangles, np.full(len(triangles), 4, np.int32)),
        CAMERA,
        look_at(np.zeros(3), np.array([1.0, 0, 0])),
    )
    assert len(triangles) > 1_000_000 and (ids == 4).all() and np.allclose(depth, 3, atol=1e-5)
