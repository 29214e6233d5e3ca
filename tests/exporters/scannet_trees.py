"""A room as a ScanNet user has it on disk, in each of the shapes that occur: the stream,
SensReader's export, mmdetection3d's, the 25k frames.

Written from ScanNet's own description of its files, with struct, zlib, zipfile and Pillow alone:
nothing here is shared with the reader that is tested. `room` is anything with `frames` (index,
camera_to_world, color, depth, read_color, read_depth), `instances` (id, label) and a `surface`.
"""

import io
import json
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

FORMS = (
    "stream",
    "stream 3 raw",
    "stream png",
    "sensreader",
    "image folder",
    "posed_images",
    "frames_25k",
)
HEADS = (
    "id raw_category category count nyu40id eigen13id nyuClass nyu40class eigen13class ModelNet40"
    " ModelNet10 ShapeNetCore55 synsetoffset wnsynsetid wnsynsetkey mpcat40 mpcat40index"
).split()


def jpeg(image):
    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG", quality=95)
    return out.getvalue()


def png(image):
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()


def millimetres(frame):
    return np.rint(frame.read_depth().astype(np.float64) * 1000).astype("<u2")


def four(K):
    out = np.eye(4)
    out[:3, :3] = K
    return out


def text(matrix):
    return "\n".join(" ".join(f"{value:f}" for value in row) for row in matrix) + "\n"


def write_room(root, room, form, *, alignment=None, instance_zip=None, lost=()):
    """Everything about one room below `root`; poses and mesh are stored in the scan's own frame,
    which `alignment` (4, 4) turns into the room's.

    Frames whose index is in `lost` are written with a pose of -inf. `instance_zip`: "filt" or "raw"
    adds the archive of instance images.
    """
    A = np.eye(4) if alignment is None else np.asarray(alignment, float)
    home = root / "scans" / room.name
    home.mkdir(parents=True, exist_ok=True)
    write_mesh(home, room, np.linalg.inv(A))
    poses = {
        f.index: (
            np.full((4, 4), -np.inf) if f.index in lost else np.linalg.inv(A) @ f.camera_to_world
        )
        for f in room.frames
    }
    write_text(home / f"{room.name}.txt", room, alignment)
    if form == "stream":
        write_stream(home / f"{room.name}.sens", room, poses)
    elif form == "stream 3 raw":
        (root / "scans_v1" / room.name).mkdir(parents=True, exist_ok=True)
        write_stream(
            root / "scans_v1" / room.name / f"{room.name}.sens",
            room,
            poses,
            version=3,
            color=0,
            depth=0,
        )
    elif form == "stream png":
        write_stream(home / f"{room.name}.sens", room, poses, color=1, imu=3)
    elif form in ("sensreader", "image folder"):
        write_folders(
            home / "image" if form == "image folder" else home,
            room,
            poses,
            name="{}",
            inside="intrinsic/",
        )
    elif form == "posed_images":
        write_flat(root / "posed_images" / room.name, room, poses)
    elif form == "frames_25k":
        write_folders(
            root / "scannet_frames_25k" / room.name, room, poses, name="{:06d}", plural=True
        )
    else:
        raise ValueError(form)
    if instance_zip:
        name, inside = (
            ("_2d-instance-filt.zip", "instance-filt")
            if instance_zip == "filt"
            else ("_2d-instance.zip", "instance")
        )
        with zipfile.ZipFile(home / f"{room.name}{name}", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{inside}/", b"")
            for f in room.frames:
                archive.writestr(f"{inside}/{f.index}.png", png(room.color_ids(f).astype(np.uint8)))
    return root


def write_mesh(home, room, to_scan):
    """PLY with three vertices of its own for each triangle, alpha last; segments with gaps;
    objectId = id - 1; a nameless and an empty extra group."""
    corners = (
        room.surface.vertices[room.surface.triangles].astype(float).reshape(-1, 3)
        @ to_scan[:3, :3].T
        + to_scan[:3, 3]
    )
    owner = np.repeat(room.surface.triangle_instance, 3)
    rows = b"".join(struct.pack("<3f4B", *xyz, 90, 120, 150, 255) for xyz in corners.tolist())
    faces = b"".join(struct.pack("<B3i", 3, k, k + 1, k + 2) for k in range(0, len(corners), 3))
    head = [
        "ply",
        "format binary_little_endian 1.0",
        "comment made by hand",
        f"element vertex {len(corners)}",
        *(f"property float {c}" for c in "xyz"),
        *(f"property uchar {c}" for c in ("red", "green", "blue", "alpha")),
        f"element face {len(corners) // 3}",
        "property list uchar int vertex_indices",
        "end_header",
    ]
    (home / f"{room.name}_vh_clean_2.ply").write_bytes(
        "\n".join(head).encode() + b"\n" + rows + faces
    )
    # two segments for each object, sparse numbers
    segment = 7 + 13 * owner.astype(int) + 4001 * (np.arange(len(owner)) // 3 % 2)
    (home / f"{room.name}_vh_clean_2.0.010000.segs.json").write_text(
        json.dumps(
            {
                "params": {"kThresh": "0.0100", "segMinVerts": "20"},
                "sceneId": room.name,
                "segIndices": segment.tolist(),
            }
        )
    )
    groups = [
        {
            "id": k,
            "objectId": i.id - 1,
            "segments": sorted(set(segment[owner == i.id].tolist())),
            "label": i.label,
        }
        for k, i in enumerate(room.instances)
    ]
    (home / f"{room.name}.aggregation.json").write_text(
        json.dumps(
            {
                "sceneId": f"scannet.{room.name}",
                "appId": "Aggregator.v2",
                "segGroups": groups,
                "segmentsFile": "scannet.segs.json",
            }
        )
    )


def write_text(path, room, alignment, native=None):
    """`<scan>.txt`; `native`: (color camera, depth camera) as recorded, where the exported images
    are smaller."""
    color, depth = native or (room.frames[0].color, room.frames[0].depth)
    if alignment is None:
        lines = []
    else:
        lines = [
            "axisAlignment = " + " ".join(f"{v:.9f}" for v in np.asarray(alignment).ravel()) + " "
        ]
    for name, camera in (("color", color), ("depth", depth)):
        K = camera.intrinsics
        lines += [
            f"{name}Height = {camera.height}",
            f"{name}Width = {camera.width}",
            f"fx_{name} = {K[0, 0]:.6f}",
            f"fy_{name} = {K[1, 1]:.6f}",
            f"mx_{name} = {K[0, 2]:.6f}",
            f"my_{name} = {K[1, 2]:.6f}",
        ]
    path.write_text(
        "\n".join(
            [
                *lines,
                "colorToDepthExtrinsics = " + "0.5 " * 16,
                f"numColorFrames = {len(room.frames)}",
                "sceneType = Bedroom / Hotel",
            ]
        )
        + "\n"
    )


def write_stream(path, room, poses, *, version=4, color=2, depth=1, imu=0, extrinsic=None):
    """`.sens`: color 0 raw, 1 png, 2 jpeg; depth 0 raw, 1 zlib. Numbers that the room leaves out
    become lost frames."""
    first = room.frames[0]
    eye = np.eye(4) if extrinsic is None else extrinsic
    frames = {f.index: f for f in room.frames}
    with open(path, "wb") as out:
        out.write(struct.pack("<IQ", version, 15) + b"StructureSensor")
        for K, E in (
            (four(first.color.intrinsics), eye),
            (four(first.depth.intrinsics), np.eye(4)),
        ):
            out.write(struct.pack("<32f", *K.ravel(), *E.ravel()))
        out.write(
            struct.pack(
                "<2i4If",
                color,
                depth,
                first.color.width,
                first.color.height,
                first.depth.width,
                first.depth.height,
                1000.0,
            )
        )
        out.write(struct.pack("<Q", max(frames) + 1))
        for k in range(max(frames) + 1):
            frame = frames.get(k, first)
            pose = poses.get(k, np.full((4, 4), -np.inf))
            image = frame.read_color()
            units = millimetres(frame).tobytes()
            picture = (
                (image.tobytes(), png(image), jpeg(image))[color] if color != 2 else jpeg(image)
            )
            units = zlib.compress(units) if depth else units
            out.write(
                struct.pack(
                    "<16f4Q",
                    *np.asarray(pose).ravel(),
                    33_000 * k,
                    33_000 * k + 5,
                    len(picture),
                    len(units),
                )
                + picture
                + units
            )
        if version == 4:
            out.write(
                struct.pack("<Q", imu)
                + b"".join(struct.pack("<15dQ", *range(15), k) for k in range(imu))
            )


def write_folders(folder, room, poses, *, name, inside="", plural=False):
    """color/ depth/ pose/, and the four matrices where SensReader has them, or two with the 25k
    frames' names, whose instance images have 16 bit."""
    for part in (
        "color",
        "depth",
        "pose",
        *(["intrinsic"] if inside else []),
        *(["instance"] if plural else []),
    ):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for f in room.frames:
        stem = name.format(f.index)
        (folder / f"color/{stem}.jpg").write_bytes(jpeg(f.read_color()))
        (folder / f"depth/{stem}.png").write_bytes(png(millimetres(f).astype(np.uint16)))
        (folder / f"pose/{stem}.txt").write_text(text(poses[f.index]))
        if plural:
            (folder / f"instance/{stem}.png").write_bytes(png(room.color_ids(f).astype(np.uint16)))
    for part, camera in (("color", room.frames[0].color), ("depth", room.frames[0].depth)):
        (folder / f"{inside}{'intrinsics' if plural else 'intrinsic'}_{part}.txt").write_text(
            text(four(camera.intrinsics))
        )
        if inside:
            (folder / f"{inside}extrinsic_{part}.txt").write_text(text(np.eye(4)))


def write_flat(folder, room, poses):
    folder.mkdir(parents=True, exist_ok=True)
    for f in room.frames:
        (folder / f"{f.index:05d}.jpg").write_bytes(jpeg(f.read_color()))
        (folder / f"{f.index:05d}.png").write_bytes(png(millimetres(f).astype(np.uint16)))
        (folder / f"{f.index:05d}.txt").write_text(text(poses[f.index]))
    (folder / "intrinsic.txt").write_text(text(four(room.frames[0].color.intrinsics)))
    (folder / "depth_intrinsic.txt").write_text(text(four(room.frames[0].depth.intrinsics)))


def write_label_table(root, rows):
    """`rows`: (raw_category, category, nyu40id, nyu40class); all other columns are empty."""
    lines = ["\t".join(HEADS)]
    for k, (raw, category, number, name) in enumerate(rows, 1):
        cells = dict.fromkeys(HEADS, "") | {
            "id": str(k),
            "raw_category": raw,
            "category": category,
            "nyu40id": str(number),
            "nyu40class": name,
        }
        lines.append("\t".join(cells.values()))
    Path(root / "scannetv2-labels.combined.tsv").write_text("\n".join(lines) + "\n")
