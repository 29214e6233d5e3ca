"""A room of solid boxes as Structured3D ships one; written from the description of its files
(millimeters, half fields of view, boxes without names, palette images), and sharing nothing with
the reader. Objects get the number id - 1; floor and walls are background."""

import io
import json
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

LABELS = """wall floor cabinet bed chair sofa table door window bookshelf picture counter blinds desk shelves curtain dresser pillow mirror floor_mat
clothes ceiling books refrigerator television paper towel shower_curtain box whiteboard person nightstand toilet sink lamp bathtub bag otherstructure
otherfurniture otherprop""".replace("_", "-").split()  # noqa: E501
CLASS = {label.replace("-", " "): number for number, label in enumerate(LABELS, 1)}
STRUCTURE = ("floor", "wall", "ceiling")


def hits(solids: Sequence, eye: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each ray (N, 3) from eye: how many lengths of the ray to the first box, inf for none, and
    which box, -1 for none."""
    best = np.full(len(rays), np.inf)
    which = np.full(len(rays), -1)
    for number, s in enumerate(solids):
        c = np.cos(s.box.yaw)
        n = np.sin(s.box.yaw)
        turn = np.array([[c, n, 0], [-n, c, 0], [0, 0, 1]])
        to = s.box.center - eye
        # those that pass the sphere about it
        rows = np.flatnonzero(
            to @ to - (rays @ to) ** 2 / (rays**2).sum(1) <= s.box.size @ s.box.size / 4
        )
        o = turn @ -to
        d = rays[rows] @ turn.T
        with np.errstate(divide="ignore", invalid="ignore"):
            a = (-s.box.size / 2 - o) / d
            b = (s.box.size / 2 - o) / d
            enter = np.fmin(a, b).max(1)
            leave = np.fmax(a, b).min(1)
        nearer = (enter > 0) & (enter < leave) & (enter < best[rows])
        best[rows[nearer]], which[rows[nearer]] = enter[nearer], number
    return best, which


def png(values: np.ndarray, palette: bool = False) -> bytes:
    image = Image.fromarray(values.astype(np.uint8) if palette else values)
    if palette:
        image.putpalette([(37 * k + 11 * (k % 3)) % 256 for k in range(768)])
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()


def images(
    solids: Sequence, eye: np.ndarray, rays: np.ndarray, instances: bool = True
) -> dict[str, bytes]:
    """The four images of rays (h, w, 3); depth counts lengths of the rays given."""
    depth, which = (
        array.reshape(rays.shape[:2]) for array in hits(solids, eye, rays.reshape(-1, 3))
    )
    rgb = np.array([(20, 20, 20), *(s.rgb for s in solids)], np.uint8)[which + 1]
    classes = np.array([0, *(CLASS[s.label] for s in solids)])[which + 1]
    numbers = np.array(
        [65535, *(65535 if s.label in STRUCTURE else s.id - 1 for s in solids)], np.uint16
    )[which + 1]
    made = {
        "rgb_rawlight.png": png(rgb),
        "depth.png": png(np.where(np.isfinite(depth), np.rint(depth * 1000), 0).astype(np.uint16)),
        "semantic.png": png(classes, palette=True),
    }
    return made | ({"instance.png": png(numbers)} if instances else {})


def perspective(
    solids: Sequence,
    pose: np.ndarray,
    width: int,
    *,
    height: int,
    half: tuple[float, float],
    shift: np.ndarray,
) -> dict[str, bytes]:
    """The files of a position; `pose` has columns right, down, forward, eye (x, y, z up, meters);
    `shift` moves the house."""
    right, down, forward, eye = pose[:3].T
    # the edges of the image are at plus and minus tan(half)
    u = (2 * (np.arange(width) + 0.5) / width - 1) * np.tan(half[0])
    v = (2 * (np.arange(height) + 0.5) / height - 1) * np.tan(half[1])
    # one meter forward each: lengths are depths
    rays = u[None, :, None] * right + v[:, None, None] * down + forward
    numbers = [*((eye + shift) * 1000), *forward, *-down, *half, 1]
    return images(solids, eye, rays) | {
        "camera_pose.txt": " ".join(f"{n:.9f}" for n in numbers).encode() + b"\n",
        "layout.json": b"{}",
    }


def panorama(
    solids: Sequence,
    eye: np.ndarray,
    width: int,
    *,
    ahead: np.ndarray,
    shift: np.ndarray,
    instances: bool,
) -> dict[str, bytes]:
    """The files of a panorama whose middle column looks along `ahead`; columns to the right turn to
    the right, seen from above clockwise."""
    turn = 2 * np.pi * (np.arange(width) + 0.5) / width - np.pi
    rise = np.pi / 2 - np.pi * (np.arange(width // 2) + 0.5) / (width // 2)
    right = np.array([ahead[1], -ahead[0], 0])
    level = np.cos(turn)[:, None] * ahead + np.sin(turn)[:, None] * right
    rays = np.cos(rise)[:, None, None] * level + np.sin(rise)[:, None, None] * np.array([0, 0, 1.0])
    files = {f"full/{name}": data for name, data in images(solids, eye, rays, instances).items()}
    return files | {
        "camera_xyz.txt": " ".join(f"{n:.6f}" for n in (eye + shift) * 1000).encode(),
        "layout.txt": b"0 0\n",
    }


def box_entry(s, shift: np.ndarray) -> dict:
    c = float(np.cos(s.box.yaw))
    n = float(np.sin(s.box.yaw))
    return {
        "ID": s.id - 1,
        "basis": [[c, n, 0], [-n, c, 0], [0, 0, 1]],
        "coeffs": (s.box.size * 500).tolist(),
        "centroid": ((s.box.center + shift) * 1000).tolist(),
    }


def plan(
    outline: Sequence[tuple[float, float]], height: float, room: int, kind: str, shift: np.ndarray
) -> dict:
    """A room of one floor and one ceiling with a wall for each side of the outline; a junction is
    where two lines end."""
    n = len(outline)
    junctions = [
        {
            "ID": k,
            "coordinate": [(x + shift[0]) * 1000, (y + shift[1]) * 1000, (z + shift[2]) * 1000],
        }
        for k, (x, y, z) in enumerate(
            [(*p, 0.0) for p in outline] + [(*p, height) for p in outline]
        )
    ]
    ends = (
        [(k, (k + 1) % n) for k in range(n)]
        + [(n + k, n + (k + 1) % n) for k in range(n)]
        + [(k, n + k) for k in range(n)]
    )
    ends = ends[1::2] + ends[::2]  # in no order
    planes = [
        {"ID": 0, "type": "floor", "normal": [0, 0, 1], "offset": 0},
        {"ID": 1, "type": "ceiling", "normal": [0, 0, -1], "offset": height * 1000},
    ]
    planes += [{"ID": 2 + k, "type": "wall", "normal": [0, 0, 0], "offset": 0} for k in range(n)]
    corners = [
        set(range(n)),
        set(range(n, 2 * n)),
        *({k, (k + 1) % n, n + k, n + (k + 1) % n} for k in range(n)),
    ]
    return {
        "junctions": junctions,
        "lines": [{"ID": k, "point": [0, 0, 0], "direction": [0, 0, 0]} for k in range(3 * n)],
        "planes": planes,
        "semantics": [
            {"ID": room, "type": kind, "planeID": list(range(n + 2))},
            {"ID": room + 1, "type": "door", "planeID": [2, 3]},
        ],
        "planeLineMatrix": [[int({a, b} <= own) for a, b in ends] for own in corners],
        "lineJunctionMatrix": [[int(j in pair) for j in range(2 * n)] for pair in ends],
        "cuboids": [],
        "manhattan": [],
    }


def write_room(
    root: Path,
    solids: Sequence,
    poses: Sequence[np.ndarray],
    *,
    width: int,
    height: int,
    half: tuple[float, float],
    outline: Sequence[tuple[float, float]],
    house: str = "scene_00012",
    room: int = 485142,
    kind: str = "living room",
    shift: Sequence[float] = (3.2, -7.1, 0.25),
    eye: Sequence[float] | None = None,
    panorama_width: int = 512,
    ahead: Sequence[float] = (0, -1.0, 0),
    panorama_instances: bool = False,
) -> Path:
    """Write root/Structured3D/<house>/ and return that folder. `eye`: where a panorama is taken, if
    at all."""
    moved = np.array(shift)
    folder = root / "Structured3D" / house
    files = {
        "bbox_3d.json": (
            json.dumps([box_entry(s, moved) for s in solids if s.label not in STRUCTURE]).encode()
        ),
        "annotation_3d.json": json.dumps(plan(outline, 2.6, room, kind, moved)).encode(),
    }
    for position, pose in enumerate(poses):
        for name, data in perspective(
            solids, pose, width, height=height, half=half, shift=moved
        ).items():
            files[f"2D_rendering/{room}/perspective/full/{position}/{name}"] = data
    if eye is not None:
        for name, data in panorama(
            solids,
            np.array(eye),
            panorama_width,
            ahead=np.array(ahead),
            shift=moved,
            instances=panorama_instances,
        ).items():
            files[f"2D_rendering/{room}/panorama/{name}"] = data
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def pack(root: Path, keep: bool = False) -> list[Path]:
    """Move what lies in root/Structured3D into zip files as the owners cut them: boxes, plans,
    panoramas, perspective images."""
    parts: dict[str, list[Path]] = {}
    for path in sorted((root / "Structured3D").rglob("*")):
        if path.is_file():
            if "panorama" in path.parts:
                part = "panorama_00"
            elif "perspective" in path.parts:
                part = "perspective_full_00"
            else:
                part = path.stem
            parts.setdefault(part, []).append(path)
    made = []
    for part, paths in parts.items():
        made.append(root / f"Structured3D_{part}.zip")
        with zipfile.ZipFile(made[-1], "w", zipfile.ZIP_DEFLATED) as archive:
            for path in paths:
                archive.write(path, path.relative_to(root).as_posix())
    if not keep:
        shutil.rmtree(root / "Structured3D")
    return made


NAMES = {
    "stool": "nightstand",
    "plant": "dresser",
    "shelf": "shelves",
    "monitor": "television",
    "basket": "bag",
    "clock": "mirror",
}


def solids_of(scene) -> list:
    """The objects of a scene of boxes as solids with colors of their own, and names that this
    dataset has."""
    from spar_kit.scenes.box_room import BoxObject

    generator = np.random.default_rng(1)
    return [
        BoxObject(
            i.id,
            NAMES.get(i.label, i.label),
            i.box,
            tuple(int(v) for v in generator.integers(60, 250, 3)),
        )
        for i in scene.instances
    ]
