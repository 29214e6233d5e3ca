"""A room of solid boxes as ARKitScenes ships a scan (3dod layout); written from the description of
its files, and sharing nothing with the reader.

The scan's own frame is turned and shifted: a tablet's origin is where it was switched on."""

import io
import json
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from .structured3d import hits

WORDS = {"tv monitor": "tv_monitor"}
HELD = {
    "Up": ((1, 0), (0, 1)),
    "Left": ((0, 1), (-1, 0)),
    "Down": ((-1, 0), (0, -1)),
    "Right": ((0, -1), (1, 0)),
}
"""Where the sky is in the stored image: its x and y axes, in right and down of the upright one."""


def box_mesh(s, cell: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and triangles of a box, each side cut into cells as small as a scan's,
    counter-clockwise from outside."""
    points = []
    triangles = []
    turn = np.array(
        [
            [np.cos(s.box.yaw), -np.sin(s.box.yaw), 0],
            [np.sin(s.box.yaw), np.cos(s.box.yaw), 0],
            [0, 0, 1],
        ]
    )
    for axis in range(3):
        for sign in (-1, 1):
            u, v = (
                ((axis + 1) % 3, (axis + 2) % 3) if sign > 0 else ((axis + 2) % 3, (axis + 1) % 3)
            )
            n, m = (max(1, int(np.ceil(s.box.size[k] / cell))) for k in (u, v))
            a, b = np.meshgrid(
                np.linspace(-0.5, 0.5, n + 1), np.linspace(-0.5, 0.5, m + 1), indexing="ij"
            )
            grid = np.zeros((n + 1, m + 1, 3))
            grid[..., axis], grid[..., u], grid[..., v] = sign / 2, a, b
            first = sum(map(len, points))
            at = first + (np.arange(n)[:, None] * (m + 1) + np.arange(m)).ravel()
            triangles += [
                np.stack([at, at + m + 1, at + m + 2], -1),
                np.stack([at, at + m + 2, at + 1], -1),
            ]
            points.append(s.box.center + (grid.reshape(-1, 3) * s.box.size) @ turn.T)
    return np.concatenate(points), np.concatenate(triangles)


def ply(vertices: np.ndarray, colors: np.ndarray, triangles: np.ndarray) -> bytes:
    head = (
        "ply\nformat binary_little_endian 1.0\ncomment a tablet's mesh\nelement vertex"
        f" {len(vertices)}\nproperty float x\nproperty float y\nproperty float z\nproperty uchar"
        " red\nproperty uchar green\nproperty uchar blue\nproperty uchar alpha\nelement face"
        f" {len(triangles)}\nproperty list uchar int vertex_indices\nend_header\n"
    ).encode()
    body = b"".join(struct.pack("<3f4B", *v, *c, 255) for v, c in zip(vertices, colors.tolist()))
    return head + body + b"".join(struct.pack("<B3i", 3, *t) for t in triangles.tolist())


def png(values: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(values).save(out, "PNG", compress_level=1)
    return out.getvalue()


def write_scan(
    root: Path,
    solids: Sequence,
    poses: Sequence[np.ndarray],
    *,
    scan: str = "41069021",
    fold: str = "Validation",
    sky: str = "Left",
    size: tuple[int, int] = (256, 192),
    focal: tuple[float, float] = (211.9, 212.4),
    center: tuple[float, float] = (125.3, 98.1),
    yaw: float = 33,
    shift: Sequence[float] = (0.7, -1.9, -1.37),
    names: Sequence[str] = (
        "lowres_wide",
        "lowres_depth",
        "lowres_wide_intrinsics",
        "lowres_wide.traj",
    ),
    unposed: int = 2,
) -> Path:
    """Write root/3dod/<fold>/<scan>/ and return that folder. `poses`: columns right, down, forward,
    eye of the upright camera, world z up.

    `size`, `focal` and `center` are those of the stored images, x before y. `unposed` images lie
    between two poses.
    """
    c = np.cos(np.radians(yaw))
    n = np.sin(np.radians(yaw))
    turn = np.array([[c, -n, 0], [n, c, 0], [0, 0, 1]])
    moved = np.array(shift)
    folder = root / "3dod" / fold / scan
    frames = folder / f"{scan}_frames"
    for name in names[:3]:
        (frames / name).mkdir(parents=True, exist_ok=True)
    lines = []
    for k, pose in enumerate([*poses, *poses[:unposed]]):
        right, down, forward, eye = (np.asarray(column, float) for column in pose[:3].T)
        (ax, ay), (bx, by) = HELD[sky]
        x = ax * right + ay * down
        y = bx * right + by * down
        u = (np.arange(size[0]) - center[0]) / focal[0]
        v = (np.arange(size[1]) - center[1]) / focal[1]
        rays = u[None, :, None] * x + v[:, None, None] * y + forward
        depth, which = (
            array.reshape(size[1], size[0]) for array in hits(solids, eye, rays.reshape(-1, 3))
        )
        rgb = np.array([(20, 20, 20), *(s.rgb for s in solids)], np.uint8)[which + 1]
        time = 6790.123 + 0.1 * k + (0.05 if k >= len(poses) else 0)
        for name, data, late in (
            (names[0], png(rgb), 0),
            (
                names[1],
                png(np.where(np.isfinite(depth), np.rint(depth * 1000), 0).astype(np.uint16)),
                0,
            ),
            (
                names[2],
                f"{size[0]} {size[1]} {focal[0]} {focal[1]} {center[0]} {center[1]}\n".encode(),
                0.001 * (k % 3 - 1),
            ),
        ):
            (
                frames
                / name
                / f"{scan}_{time + late:.3f}.{'pincam' if name == names[2] else 'png'}"
            ).write_bytes(data)
        if k < len(poses):
            # rows are the camera's axes in the scan's frame
            world_to_camera = np.stack([x, y, forward]) @ turn.T
            vector = Rotation.from_matrix(world_to_camera).as_rotvec()
            lines.append(
                " ".join(
                    f"{value:.9f}"
                    for value in [
                        time + 0.002 * (-1) ** k,
                        *vector,
                        *(-world_to_camera @ (turn @ eye + moved)),
                    ]
                )
            )
    (frames / names[3]).write_text("\n".join(lines) + "\n")
    data = []
    for k, s in enumerate(s for s in solids if s.label not in ("floor", "wall")):
        cs = np.cos(s.box.yaw)
        sn = np.sin(s.box.yaw)
        axes = np.array([[cs, sn, 0], [-sn, cs, 0], [0, 0, 1]]) @ turn.T  # one axis a row
        data.append(
            {
                "uid": f"{k:08x}-made",
                "label": WORDS.get(s.label, s.label),
                "modelId": "",
                "attributes": {},
                "segments": {
                    "obb": {},
                    "obbAligned": {
                        "centroid": (turn @ s.box.center + moved).tolist(),
                        "axesLengths": s.box.size.tolist(),
                        "normalizedAxes": axes.reshape(-1).tolist(),
                    },
                },
            }
        )
    (folder / f"{scan}_3dod_annotation.json").write_text(
        json.dumps({"data": data, "skipped": False, "stats": {}})
    )
    meshes = [box_mesh(s) for s in solids]
    start = 0
    vertices = []
    triangles = []
    colors = []
    for s, (points, sides) in zip(solids, meshes):
        vertices.append(points @ turn.T + moved)
        triangles.append(sides + start)
        colors.append(np.tile(np.array(s.rgb), (len(points), 1)))
        start += len(points)
    (folder / f"{scan}_3dod_mesh.ply").write_bytes(
        ply(np.concatenate(vertices), np.concatenate(colors), np.concatenate(triangles))
    )
    (root / "metadata.csv").write_text(
        f"video_id,visit_id,fold,sky_direction\n1,2,Training,Up\n{scan},420,{fold},{sky}\n"
    )
    return folder
