"""Writes a room of solid boxes as ScanNet++ ships a scene, from its documentation
alone: nothing of the reader is used.

Pixels are COLMAP's: the center of the first one lies at (0.5, 0.5). The room is drawn ray by ray,
through whatever lens the stream has.
"""

import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from spar_kit.scenes.box_room import BoxObject, box_mesh, raycast_boxes

SCENE = "0a1b2c3d4e"


@dataclass(frozen=True)
class Glass:
    """A lens: COLMAP's model and parameters at `width` x `height`. It stands in for a camera where
    the room is drawn."""

    model: str
    width: int
    height: int
    params: tuple[float, ...]

    def scaled(self, width: int, height: int) -> "Glass":
        x = width / self.width
        y = height / self.height
        p = self.params
        return Glass(self.model, width, height, (p[0] * x, p[1] * y, p[2] * x, p[3] * y, *p[4:]))

    def rays(self) -> np.ndarray:
        """(h, w, 3) directions with z = 1 of the pixels' centers, found by undoing the lens step by
        step."""
        fx, fy, cx, cy, *k = self.params
        a, b = np.meshgrid(
            (np.arange(self.width) + 0.5 - cx) / fx, (np.arange(self.height) + 0.5 - cy) / fy
        )
        x = a.copy()
        y = b.copy()
        if self.model == "OPENCV_FISHEYE":
            angles = np.linspace(0, 1.5, 200_001)
            bent = angles * (
                1 + k[0] * angles**2 + k[1] * angles**4 + k[2] * angles**6 + k[3] * angles**8
            )
            r = np.hypot(a, b)
            scale = np.where(r > 0, np.tan(np.interp(r, bent, angles)) / np.where(r > 0, r, 1), 1)
            x = a * scale
            y = b * scale
        elif self.model == "OPENCV":
            for _ in range(60):
                s = x * x + y * y
                radial = 1 + k[0] * s + k[1] * s * s
                x = (a - 2 * k[2] * x * y - k[3] * (s + 2 * x * x)) / radial
                y = (b - k[2] * (s + 2 * y * y) - 2 * k[3] * x * y) / radial
        return np.stack([x, y, np.ones_like(x)], -1)

    def back_project(self, depth: np.ndarray) -> np.ndarray:
        return self.rays() * depth[..., None]


FISHEYE = Glass(
    "OPENCV_FISHEYE", 180, 120, (84.0, 84.75, 92.5, 57.5, -0.03, -0.006, 0.002, -0.0006)
)
PINHOLE = Glass("PINHOLE", 180, 120, (96.0, 97.0, 90.0, 60.0))
PHONE = Glass("PINHOLE", 160, 120, (121.0, 122.5, 83.0, 57.5))
BENT_PHONE = Glass("OPENCV", 160, 120, (121.0, 122.5, 83.0, 57.5, -0.15, 0.05, 0.002, -0.003))


@dataclass(frozen=True, kw_only=True)
class Export:
    """What to write. `poses` are (4, 4) camera-to-world, OpenCV axes, by frame number.

    shipped: "undistorted", "fisheye" or "fisheye colmap" for the DSLR, for the iPhone "mkv" or
        "rgb"; where poses come from: `posed_by` "nerfstudio",
    "colmap" or "arkit". `bad` numbers are marked is_bad, those in `lost` have a pose of NaN.
    """

    solids: Sequence[BoxObject]
    poses: dict[int, np.ndarray]
    name: str = SCENE
    version: int = 2
    bad: tuple[int, ...] = ()
    lost: tuple[int, ...] = ()
    # object -> others whose vertices it claims as well
    shares: dict[int, tuple[int, ...]] = field(default_factory=dict)
    junk: tuple[str, ...] = ("remove", "SPLIT")
    raised: float = 0.0  # meters by which the whole scan is above z = 0
    spacing: float = np.inf  # meters between vertices of the mesh, at most

    def folder(self, root: Path) -> Path:
        return root / ("data" if self.version == 2 else "scans") / self.name

    def pose(self, number: int) -> np.ndarray:
        pose = np.array(self.poses[number])
        pose[2, 3] += self.raised
        return pose * (np.nan if number in self.lost else 1)

    def look(self, glass: Glass, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return raycast_boxes(list(self.solids), glass, self.poses[number])


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def save_jpeg(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, "JPEG", quality=95, subsampling=0)


# ----------------------------------------------------------------------------------------------
# scans/


def fine_mesh(solid: BoxObject, spacing: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices (V, 3), triangles (T, 3) and the side (V,) of each vertex, of a box whose sides are
    grids."""
    corners, two_each = box_mesh(solid.box)
    if np.isinf(spacing):
        return corners, two_each, np.arange(24) // 4
    vertices = []
    triangles = []
    sides = []
    for side, (a, b, _, d) in enumerate(corners.reshape(6, 4, 3)):
        n, m = (max(int(np.ceil(np.linalg.norm(e) / spacing)), 1) for e in (b - a, d - a))
        s, t = np.meshgrid(np.linspace(0, 1, n + 1), np.linspace(0, 1, m + 1), indexing="ij")
        first = sum(map(len, vertices))
        vertices.append((a + s[..., None] * (b - a) + t[..., None] * (d - a)).reshape(-1, 3))
        q = first + (np.arange(n)[:, None] * (m + 1) + np.arange(m)).ravel()
        triangles += [np.stack([q, q + m + 1, q + m + 2], -1), np.stack([q, q + m + 2, q + 1], -1)]
        sides.append(np.full(len(vertices[-1]), side))
    return np.concatenate(vertices), np.concatenate(triangles), np.concatenate(sides)


def write_scans(export: Export, root: Path) -> None:
    """Mesh, segments, annotation; a vertex is a segment in version 1, each side of a box is one in
    version 2, with names far apart."""
    folder = export.folder(root) / "scans"
    folder.mkdir(parents=True, exist_ok=True)
    vertices = []
    faces = []
    claims = {}
    colors = []
    names = []
    for k, s in enumerate(export.solids):
        v, t, side = fine_mesh(s, export.spacing)
        first = sum(map(len, vertices))
        faces.append(t + first)
        claims[s.id] = range(first, first + len(v))
        vertices.append(v + [0, 0, export.raised])
        colors.append(np.repeat([s.rgb], len(v), 0))
        names.append((6 * k + side) * 37 + 5)
    v = np.concatenate(vertices)
    t = np.concatenate(faces)
    c = np.concatenate(colors)
    rows = np.zeros(
        len(v),
        [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1")],
    )
    for i, (axis, color) in enumerate(zip("xyz", ("red", "green", "blue"))):
        rows[axis], rows[color] = v[:, i], c[:, i]
    lists = np.zeros(len(t), [("n", "u1"), ("v", "<i4", 3)])
    lists["n"], lists["v"] = 3, t
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(v)}\n" + "".join(
        f"property float {a}\n" for a in "xyz"
    )
    header += "".join(f"property uchar {a}\n" for a in ("red", "green", "blue"))
    header += f"element face {len(t)}\nproperty list uchar int vertex_indices\nend_header\n"
    (folder / "mesh_aligned_0.05.ply").write_bytes(
        header.encode() + rows.tobytes() + lists.tobytes()
    )
    segment = np.arange(len(v)) if export.version == 1 else np.concatenate(names)
    write_json(folder / "segments.json", {"segIndices": segment.tolist()})
    groups = []
    for s in export.solids:
        mine = [i for id in (s.id, *export.shares.get(s.id, ())) for i in claims[id]]
        obb = {
            "centroid": (s.box.center + [0, 0, export.raised]).tolist(),
            "axesLengths": s.box.size.tolist(),
            "normalizedAxes": s.box.axes.T.ravel().tolist(),
        }
        groups.append(
            {
                "id": s.id,
                "objectId": s.id,
                "label": s.label,
                "segments": sorted(set(segment[mine].tolist())),
                "obb": obb,
            }
        )
    for i, label in enumerate(export.junk):
        groups.append(
            {"id": 900 + i, "objectId": 900 + i, "label": label, "segments": [int(segment[i])]}
        )
    write_json(folder / "segments_anno.json", {"segGroups": groups})


def write_lists(
    root: Path, train: Sequence[str], val: Sequence[str] = (), types: dict[str, str] | None = None
) -> None:
    (root / "splits").mkdir(parents=True, exist_ok=True)
    (root / "splits" / "nvs_sem_train.txt").write_text("".join(f"{name}\n" for name in train))
    (root / "splits" / "nvs_sem_val.txt").write_text("\n".join(val))
    write_json(root / "metadata" / "scene_types.json", types or {})


# ----------------------------------------------------------------------------------------------
# poses


def write_colmap(
    folder: Path, glass: Glass, poses: dict[str, np.ndarray], points: bool = True
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    params = " ".join(repr(float(p)) for p in glass.params)
    (folder / "cameras.txt").write_text(
        "# Camera list with one line of data per camera:\n#   CAMERA_ID, MODEL, WIDTH, HEIGHT,"
        f" PARAMS[]\n1 {glass.model} {glass.width} {glass.height} {params}\n"
    )
    lines = ["# Image list with two lines of data per image:"]
    for i, (name, pose) in enumerate(poses.items(), 1):
        if np.isfinite(pose).all():
            x, y, z, w = Rotation.from_matrix(pose[:3, :3].T).as_quat()
            numbers = [w, x, y, z, *(-pose[:3, :3].T @ pose[:3, 3])]
        else:
            numbers = [float("nan")] * 7
        lines += [
            f"{i} {' '.join(repr(float(n)) for n in numbers)} 1 {name}",
            "10.5 20.25 -1 30 40 7" if points and i % 2 else "",
        ]
    (folder / "images.txt").write_text("\n".join(lines) + "\n")
    (folder / "points3D.txt").write_text("# 3D point list\n")


def nerfstudio_pose(pose: np.ndarray) -> np.ndarray:
    c2w = np.array(pose)
    c2w[:3, 1:3] *= -1
    c2w = c2w[[1, 0, 2, 3]]
    c2w[2] *= -1
    return c2w


def write_nerfstudio(
    path: Path,
    glass: Glass,
    poses: dict[str, np.ndarray],
    *,
    bad: Sequence[str] = (),
    tests: int = 1,
    masks: bool = False,
) -> None:
    fx, fy, cx, cy, *k = glass.params
    names = (
        ("k1", "k2", "k3", "k4") if glass.model == "OPENCV_FISHEYE" else ("k1", "k2", "p1", "p2")
    )
    data = {
        "fl_x": fx,
        "fl_y": fy,
        "cx": cx,
        "cy": cy,
        "w": glass.width,
        "h": glass.height,
        "camera_model": glass.model,
    }
    data |= dict(zip(names, k if k else [0.0] * 4))
    frames = [
        {
            "file_path": name,
            "transform_matrix": nerfstudio_pose(pose).tolist(),
            "is_bad": name in bad,
        }
        | ({"mask_path": name.rpartition(".")[0] + ".png"} if masks else {})
        for name, pose in poses.items()
    ]
    cut = max(len(frames) - tests, 0)
    write_json(path, data | {"frames": frames[:cut], "test_frames": frames[cut:]})


# ----------------------------------------------------------------------------------------------
# dslr/


def write_dslr(
    export: Export,
    root: Path,
    kind: str = "undistorted",
    posed_by: str = "nerfstudio",
    masked: Sequence[int] = (),
) -> None:
    """kind: "undistorted" or "fisheye". The left half of the frames in `masked` is anonymized."""
    folder = export.folder(root) / "dslr"
    glass = PINHOLE if kind == "undistorted" else FISHEYE
    images = {
        "undistorted": (
            "resized_undistorted_images" if export.version == 2 else "undistorted_images"
        ),
        "fisheye": "resized_images",
    }[kind]
    masks = {"fisheye": "resized_anon_masks"}.get(kind, images.replace("images", "masks"))
    poses = {f"DSC{number:05d}.JPG": export.pose(number) for number in export.poses}
    bad = [f"DSC{number:05d}.JPG" for number in export.bad]
    for number in export.poses:
        save_jpeg(folder / images / f"DSC{number:05d}.JPG", export.look(glass, number)[2])
        if masked:
            mask = np.full((glass.height, glass.width), 255, np.uint8)
            mask[:, : glass.width // 2] = 0 if number in masked else 255
            (folder / masks).mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(folder / masks / f"DSC{number:05d}.png")
    name = "transforms_undistorted.json" if kind == "undistorted" else "transforms.json"
    if posed_by == "nerfstudio":
        write_nerfstudio(folder / "nerfstudio" / name, glass, poses, bad=bad, masks=bool(masked))
    else:
        write_colmap(folder / "colmap", FISHEYE, poses)
    names = list(poses)
    write_json(
        folder / "train_test_lists.json",
        {"train": names[:-1], "test": names[-1:], "has_masks": bool(masked)},
    )


# ----------------------------------------------------------------------------------------------
# iphone/


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def pack_depth(depths: Sequence[np.ndarray], kind: str) -> bytes:
    """kind: "whole", "lz4" or "deflate"; depths (192, 256) meters."""
    if kind == "whole":
        return raw_deflate(np.stack(depths).astype("<f4").tobytes())
    if kind == "lz4":
        import lz4.block

        blocks = [
            lz4.block.compress(np.rint(d * 1000).astype("<u2").tobytes(), store_size=False)
            for d in depths
        ]
    else:
        blocks = [raw_deflate(d.astype("<f4").tobytes()) for d in depths]
    return b"".join(struct.pack("<I", len(block)) + block for block in blocks)


def write_video(path: Path, images: Sequence[np.ndarray]) -> None:
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=60)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt, stream.bit_rate, stream.codec_context.gop_size = "yuv420p", 40_000_000, 5
        for image in images:
            container.mux(
                stream.encode(
                    av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
                )
            )
        container.mux(stream.encode())


def write_iphone(
    export: Export,
    root: Path,
    depth: str = "lz4",
    *,
    color: str = "mkv",
    posed_by: str = "colmap",
    glass: Glass = PHONE,
) -> None:
    """A recording of frames 0 to the last one posed; those between the posed ones look like the one
    before."""
    folder = export.folder(root) / "iphone"
    count = max(export.poses) + 1
    folder.mkdir(parents=True, exist_ok=True)
    near = [
        max((n for n in export.poses if n <= i), default=min(export.poses)) for i in range(count)
    ]
    seen = {
        n: (export.look(glass, n)[2], export.look(glass.scaled(256, 192), n)[0]) for n in set(near)
    }
    images = [seen[n][0] for n in near]
    depths = [seen[n][1] for n in near]
    if color == "mkv":
        write_video(folder / "rgb.mkv", images)
    else:
        for i, image in enumerate(images):
            save_jpeg(folder / "rgb" / f"frame_{i:06d}.jpg", image)
    if depth == "png":
        (folder / "depth").mkdir()
        for i, image in enumerate(depths):
            Image.fromarray(np.rint(image * 1000).astype(np.uint16)).save(
                folder / "depth" / f"frame_{i:06d}.png"
            )
    else:
        (folder / "depth.bin").write_bytes(pack_depth(depths, depth))
    fx, fy, cx, cy = glass.params[:4]
    entry = {
        "intrinsic": [[fx, 0, cx], [0, fy, cy], [0, 0, 1]],
        "timestamp": 0.0,
        "imu": {"acceleration": [0, 0, -1]},
        "pose": np.eye(4).tolist(),
    }
    aligned = {
        f"frame_{n:06d}": entry | {"aligned_pose": export.pose(n).tolist()} for n in export.poses
    }
    write_json(folder / "pose_intrinsic_imu.json", aligned)
    if posed_by == "colmap":
        write_colmap(
            folder / "colmap",
            glass,
            {f"iphone/frame_{n:06d}.jpg": export.pose(n) for n in export.poses},
        )
    elif posed_by == "nerfstudio":
        bad = [f"frame_{n:06d}.jpg" for n in export.bad]
        write_nerfstudio(
            folder / "nerfstudio" / "transforms.json",
            glass,
            {f"frame_{n:06d}.jpg": export.pose(n) for n in export.poses},
            bad=bad,
            tests=0,
        )
