"""ScanNet: the .sens stream, PLY, the scan folder, and what is said of damaged ones."""

import io
import json
import os
import pickle
import shutil
import struct
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toys import complaint

from spar_kit.data.generate import generate
from spar_kit.oracle.verify import verify
from spar_kit.scenes.box_room import box_room_scene, toy_solids
from spar_kit.scenes.formats.ply import read_ply, write_ply
from spar_kit.scenes.frame_selection import FrameSelection, select_frames, sharpness
from spar_kit.scenes.geometry.rasterizer import render_depth_and_ids
from spar_kit.scenes.readers.scannet.reader import ScanNet
from spar_kit.scenes.readers.scannet.sens import IMU, SensFrame, open_sens, write_sens
from spar_kit.scenes.readers.scannet.writer import write_scannet
from spar_kit.scenes.scene import Camera
from spar_kit.scenes.splits import split_by_name
from spar_kit.tasks.registry import TASKS

HOUSE = Path(__file__).parents[2] / "shared" / "data" / "small_house"
SCAN = "toy0000_00"
TURN = np.radians(35)
ALIGNMENT = np.array(
    [
        [np.cos(TURN), -np.sin(TURN), 0, 1.5],
        [np.sin(TURN), np.cos(TURN), 0, -2],
        [0, 0, 1, -0.3],
        [0, 0, 0, 1],
    ]
)


# ----------------------------------------------------------------------------------------------
# .sens, written by hand


COLOR_K = [[9, 0, 3.25, 0], [0, 9.5, 2.5, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
DEPTH_K = [[6, 0, 2.25, 0], [0, 6.5, 1.75, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
# a rotation about no coordinate axis
POSE = np.array([[0, 0, 1, 1.5], [-1, 0, 0, 2.5], [0, -1, 0, 3.5], [0, 0, 0, 1]])


def by_hand(
    version=4, frames=2, imu=1, *, color=None, depth=None, replaced=None
) -> list[tuple[str, bytes]]:
    """A .sens file as (field, bytes), put together from the description of the format alone: 8 x 6
    PNG color, 5 x 4 zlib depth."""
    if color is None:
        out = io.BytesIO()
        Image.fromarray((np.arange(8 * 6 * 3) % 251).astype(np.uint8).reshape(6, 8, 3)).save(
            out, "PNG"
        )
        color = out.getvalue()
    depth = zlib.compress(np.arange(1000, 1020, dtype="<u2").tobytes()) if depth is None else depth
    parts = [
        ("version", struct.pack("<I", version)),
        ("name length", struct.pack("<Q", 5)),
        ("name", b"hands"),
    ]
    for name, K in (
        ("intrinsic_color", COLOR_K),
        ("extrinsic_color", np.eye(4)),
        ("intrinsic_depth", DEPTH_K),
        ("extrinsic_depth", np.eye(4)),
    ):
        parts.append((name, np.array(K, "<f4").tobytes()))
    parts += [
        ("color_compression", struct.pack("<i", 1)),
        ("depth_compression", struct.pack("<i", 1)),
        ("color size", struct.pack("<II", 8, 6)),
        ("depth size", struct.pack("<II", 5, 4)),
        ("depth_shift", struct.pack("<f", 1000)),
        ("num_frames", struct.pack("<Q", frames)),
    ]
    for i in range(frames):
        pose = POSE if i != 1 else np.full((4, 4), -np.inf)
        parts += [
            (f"pose {i}", pose.astype("<f4").tobytes()),
            (f"times {i}", struct.pack("<QQ", 10 * i, 10 * i + 1)),
            (f"color_bytes {i}", struct.pack("<Q", len(color))),
            (f"depth_bytes {i}", struct.pack("<Q", len(depth))),
            (f"color {i}", color),
            (f"depth {i}", depth),
        ]
    if version == 4:
        parts += [
            ("num_imu", struct.pack("<Q", imu)),
            ("imu", b"".join(struct.pack("<15dQ", *range(15), 77) for _ in range(imu))),
        ]
    return [(name, (replaced or {}).get(name, data)) for name, data in parts]


def put(path: Path, parts) -> Path:
    path.write_bytes(b"".join(data for _, data in parts))
    return path


def read_all(path: Path) -> None:
    sens = open_sens(path)
    for i in range(len(sens)):
        sens.read_color(i), sens.read_depth(i), sens.read_encoded(i)
    sens.read_imu()


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("imu", [0, 1, 3])
def test_sens_reads_a_file_put_together_by_hand(tmp_path, version, imu):
    sens = open_sens(put(tmp_path / "a.sens", by_hand(version=version, imu=imu)))
    assert (sens.version, sens.sensor, len(sens), sens.depth_shift) == (version, "hands", 2, 1000)
    assert (sens.color.width, sens.color.height, sens.depth.width, sens.depth.height) == (
        8,
        6,
        5,
        4,
    )
    assert np.array_equal(sens.color.intrinsics, np.array(COLOR_K)[:3, :3]) and np.array_equal(
        sens.depth.intrinsics, np.array(DEPTH_K)[:3, :3]
    )
    assert np.array_equal(sens.camera_to_world[0], POSE) and sens.faults == (
        "",
        "pose is not finite",
    )
    assert sens.timestamps.tolist() == [[0, 1], [10, 11]]
    assert sens.read_color(1).reshape(-1).tolist() == [i % 251 for i in range(144)]
    assert sens.read_units(1).reshape(-1).tolist() == list(range(1000, 1020))
    assert sens.read_depth(0)[3, 4] == np.float32(1.019) and sens.read_depth(0).dtype == np.float32
    assert sens.read_encoded(0) == (dict(by_hand())["color 0"], ".png")
    records = sens.read_imu()
    assert len(records) == (imu if version == 4 else 0)
    if len(records):
        assert (
            records["rotation_rate"][0].tolist() == [0, 1, 2]
            and records["gravity"][0].tolist() == [12, 13, 14]
            and records["time"][0] == 77
        )
    with pytest.raises(IndexError):
        sens.read_color(2)
    with pytest.raises(IndexError):
        sens.read_depth(-1)


def test_sens_cut_anywhere_is_an_error_at_opening(tmp_path):
    parts = by_hand()
    whole = b"".join(data for _, data in parts)
    path = tmp_path / "cut.sens"
    for length in {
        *range(0, len(whole), 3),
        *np.cumsum([len(data) for _, data in parts])[:-1],
        len(whole) - 1,
    }:
        path.write_bytes(whole[:length])
        message = complaint(open_sens, path)
        assert message.startswith(f"{path}: byte ")
    path.write_bytes(whole)
    assert len(open_sens(path)) == 2


def test_sens_cut_at_each_field_names_the_field(tmp_path):
    parts = by_hand()
    expected = {
        "name length": "length of the sensor's name",
        "name": "sensor's name",
        "color size": "color width",
        "depth size": "depth width",
        "num_imu": "num_imu_frames",
        "imu": "num_imu_frames: 1 records need 128 bytes, 0 are left",
        "color 1": "frame 1 color_bytes",
        "depth 1": "frame 1 depth_bytes",
    }
    for field in ("pose", "times", "color_bytes", "depth_bytes", "color", "depth"):
        # what is left cannot hold two headers
        expected.setdefault(f"{field} 0", "num_frames: 2 frames")
        expected.setdefault(f"{field} 1", "header of frame 1")
    for k, (name, _) in enumerate(parts):
        message = complaint(open_sens, put(tmp_path / "cut.sens", parts[:k]))
        assert expected.get(name, name) in message, (name, message)


FOREVER = struct.pack("<Q", 2**64 - 1)  # -1 for a program that reads it as a signed number


@pytest.mark.parametrize(
    "field, data, words",
    [
        ("version", struct.pack("<I", 2), "version 2"),
        ("version", struct.pack("<I", 5), "version 5"),
        ("version", b"\x89PNG", "not a .sens file"),
        ("name length", FOREVER, "length of the sensor's name"),
        ("name length", struct.pack("<Q", 4000), "sensor's name"),
        ("intrinsic_color", np.full(16, np.nan, "<f4").tobytes(), "intrinsic_color"),
        ("intrinsic_depth", np.zeros(16, "<f4").tobytes(), "intrinsic_depth"),
        ("color_compression", struct.pack("<i", -1), "color_compression -1"),
        ("color_compression", struct.pack("<i", 3), "color_compression 3"),
        ("depth_compression", struct.pack("<i", 2), "depth_compression 2"),
        ("color size", struct.pack("<II", 0, 6), "0 x 6"),
        ("color size", struct.pack("<II", 2**32 - 1, 2**32 - 1), "absurd"),
        ("depth size", struct.pack("<II", 16000, 16000), "absurd"),
        ("depth_shift", struct.pack("<f", 0), "depth_shift 0.0"),
        ("depth_shift", struct.pack("<f", np.nan), "depth_shift nan"),
        ("depth_shift", struct.pack("<f", -1000), "depth_shift -1000"),
        ("num_frames", FOREVER, "num_frames"),
        ("num_frames", struct.pack("<Q", 3), "frame"),
        ("color_bytes 1", FOREVER, "frame 1 color_bytes"),
        ("depth_bytes 0", FOREVER, "frame 0 depth_bytes"),
        ("depth_bytes 1", struct.pack("<Q", 10**6), "frame 1 depth_bytes: 1,000,000"),
        ("num_imu", FOREVER, "num_imu_frames"),
    ],
)
def test_sens_field_faults_are_named(tmp_path, field, data, words):
    path = put(tmp_path / "bad.sens", by_hand(replaced={field: data}))
    message = complaint(read_all, path)
    assert words in message and str(path) in message and "byte " in message


@pytest.mark.parametrize(
    "color, words",
    [
        (b"", "not a PNG"),
        (b"not an image", "not a PNG image"),
        (dict(by_hand())["color 0"][:50], "frame 0 colour"),
    ],
)
def test_sens_damaged_colour_is_named(tmp_path, color, words):
    assert words in complaint(read_all, put(tmp_path / "bad.sens", by_hand(color=color)))


def test_sens_image_of_another_size_or_kind_is_refused_before_decoding(tmp_path):
    out = io.BytesIO()
    Image.new("L", (4000, 4000)).save(out, "PNG")
    path = put(tmp_path / "big.sens", by_hand(color=out.getvalue()))
    tracemalloc.start()
    message = complaint(open_sens(path).read_color, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "4000x4000" in message and "8x6" in message and peak < 5e6
    assert "8x6" in complaint(open_sens(path).read_encoded, 0)
    out = io.BytesIO()
    Image.new("RGB", (8, 6)).save(out, "JPEG")
    assert "not a PNG image" in complaint(
        open_sens(put(path, by_hand(color=out.getvalue()))).read_color, 0
    )


def test_sens_depth_faults_are_named_and_a_zlib_bomb_stays_small(tmp_path):
    right = np.arange(20, dtype="<u2").tobytes()
    for data, words in (
        (zlib.compress(right[:-2]), "38 bytes for 5x4"),
        (zlib.compress(right + b"\0\0"), "more than 40 bytes"),
        (b"", "0 bytes"),
        (zlib.compress(right)[:-2], "ends early"),
        (b"\xff" * 30, "damaged zlib data"),
    ):
        message = complaint(
            open_sens(put(tmp_path / "bad.sens", by_hand(depth=data))).read_depth, 1
        )
        assert words in message and "frame 1 depth" in message
    bomb = open_sens(
        put(tmp_path / "bomb.sens", by_hand(depth=zlib.compress(bytes(50_000_000), 9)))
    )
    tracemalloc.start()
    message = complaint(bomb.read_depth, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "more than 40 bytes" in message and peak < 5e6


def test_sens_raw_images_must_have_the_headers_size(tmp_path):
    parts = by_hand(
        color=bytes(144),
        depth=bytes(40),
        replaced=dict.fromkeys(["color_compression", "depth_compression"], bytes(4)),
    )
    sens = open_sens(put(tmp_path / "raw.sens", parts))
    assert (
        sens.read_color(0).shape == (6, 8, 3)
        and sens.read_depth(0).sum() == 0
        and "raw" in complaint(sens.read_encoded, 0)
    )
    parts = by_hand(
        color=bytes(143),
        depth=bytes(42),
        replaced=dict.fromkeys(["color_compression", "depth_compression"], bytes(4)),
    )
    sens = open_sens(put(tmp_path / "raw.sens", parts))
    assert "143 bytes for 8x6 RGB" in complaint(
        sens.read_color, 0
    ) and "more than 40 bytes" in complaint(sens.read_depth, 0)


def test_sens_of_three_gigabytes_is_indexed_in_little_memory_and_read_at_its_end(tmp_path):
    """2,000 frames; the payloads are holes of a sparse file, except for the last frame."""
    parts = dict(by_hand(frames=1))
    head = b"".join(
        data for name, data in by_hand(frames=0, version=3) if name != "num_frames"
    ) + struct.pack("<Q", 2000)
    path = tmp_path / "huge.sens"
    color = parts["color 0"]
    depth = parts["depth 0"]
    with open(path, "wb") as file:
        file.write(head)
        for i in range(2000):
            a, b = (1_400_000, 100_000) if i < 1999 else (len(color), len(depth))
            file.write(parts["pose 0"] + struct.pack("<QQQQ", i, i, a, b))
            if i < 1999:
                file.seek(a + b, os.SEEK_CUR)
        file.write(color + depth)
    assert path.stat().st_size > 2.9e9
    tracemalloc.start()
    sens = open_sens(path)
    last = sens.read_depth(1999)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (
        len(sens) == 2000
        and last[0, 0] == 1
        and peak < 10e6
        and int(sens.timestamps[1500, 0]) == 1500
    )
    path.unlink()


# ----------------------------------------------------------------------------------------------
# .sens, written by us


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("deep", ["raw", "zlib"])
@pytest.mark.parametrize("how", ["raw", "png", "jpeg"])
def test_sens_round_trip(tmp_path, how, deep, version):
    rng = np.random.default_rng(1)
    color = Camera(16, 12, np.array([[20, 0, 7.5], [0, 21, 5.25], [0, 0, 1.0]]))
    depth = Camera(10, 8, np.array([[12, 0, 4.5], [0, 13, 3.25], [0, 0, 1.0]]))
    made = [
        SensFrame(
            POSE if i else np.full((4, 4), np.nan),
            rng.integers(0, 256, (12, 16, 3), np.uint8),
            rng.integers(0, 65536, (8, 10), np.uint16),
            (2**63 + i, i),
        )
        for i in range(3)
    ]
    records = np.zeros(2, IMU)
    records["attitude"] = [[1, 2, 3], [4, 5, 6]]
    assert (
        write_sens(
            tmp_path / "a.sens",
            color,
            depth,
            iter(made),
            version=version,
            color_compression=how,
            depth_compression=deep,
            imu=records,
        )
        == 3
    )
    sens = open_sens(tmp_path / "a.sens")
    assert (
        len(sens) == 3
        and sens.faults == ("pose is not finite", "", "")
        and sens.timestamps[1].tolist() == [2**63 + 1, 1]
    )
    assert np.array_equal(sens.color.intrinsics, color.intrinsics) and np.array_equal(
        sens.depth.intrinsics, depth.intrinsics
    )
    for i, frame in enumerate(made):
        assert np.array_equal(sens.read_units(i), frame.depth)
        assert np.array_equal(sens.read_color(i), frame.color) == (
            how != "jpeg"
        ) and sens.read_color(i).shape == (12, 16, 3)
    assert np.array_equal(sens.read_imu(), records[: 2 if version == 4 else 0])
    again = tmp_path / "b.sens"  # encoded images are passed on byte by byte
    if how != "raw":
        write_sens(
            again,
            color,
            depth,
            [replace(f, color=sens.read_encoded(i)[0]) for i, f in enumerate(made)],
            version=version,
            color_compression=how,
            depth_compression=deep,
            imu=records,
        )
        assert again.read_bytes() == (tmp_path / "a.sens").read_bytes()


def test_sens_writer_leaves_nothing_half_written(tmp_path):
    color = depth = Camera.from_fov(4, 3, 60)
    good = SensFrame(np.eye(4), np.zeros((3, 4, 3), np.uint8), np.zeros((3, 4), np.uint16))
    with pytest.raises(ValueError, match="frame 1: an image"):
        write_sens(
            tmp_path / "a.sens",
            color,
            depth,
            [good, replace(good, depth=np.zeros((4, 3), np.uint16))],
        )
    with pytest.raises(ValueError, match="'gif'"):
        write_sens(tmp_path / "a.sens", color, depth, [good], color_compression="gif")
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------------------------- PLY


def ply_text(vertices, faces, extra="") -> bytes:
    return (
        f"ply\nformat ascii 1.0\nelement vertex {len(vertices)}\nproperty double x\nproperty double"
        f" y\nproperty double z\n{extra}element face {len(faces)}\nproperty list uchar int"
        " vertex_indices\nend_header\n"
        + "".join(" ".join(map(str, v)) + "\n" for v in vertices)
        + "".join("3 " + " ".join(map(str, f)) + "\n" for f in faces)
    ).encode()


def test_ply_reads_all_three_encodings(tmp_path):
    vertices = [[0.5, 1, 2], [3, -4.25, 5], [6, 7, 8e-3], [1, 1, 1]]
    faces = [[0, 1, 2], [3, 2, 1]]
    (tmp_path / "t.ply").write_bytes(ply_text(vertices, faces))
    big = (
        b"ply\r\nformat binary_big_endian 1.0\r\ncomment x\r\nelement vertex 4\r\nproperty float"
        b" x\r\nproperty float y\r\nproperty float z\r\nproperty ushort label\r\nelement face"
        b" 2\r\nproperty list uint8 uint32 vertex_index\r\nproperty uchar flag\r\nend_header\r\n"
        + b"".join(struct.pack(">fffH", *v, 300 + i) for i, v in enumerate(vertices))
        + b"".join(struct.pack(">BIIIB", 3, *f, 9) for f in faces)
    )
    (tmp_path / "b.ply").write_bytes(big)
    write_ply(tmp_path / "l.ply", np.array(vertices), np.array(faces), np.arange(12).reshape(4, 3))
    for name in "tbl":
        mesh = read_ply(tmp_path / f"{name}.ply")
        assert (
            np.array_equal(mesh.vertices, np.array(vertices, np.float32))
            and mesh.triangles.tolist() == faces
        )
    assert read_ply(tmp_path / "b.ply").vertex["label"].tolist() == [
        300,
        301,
        302,
        303,
    ] and read_ply(tmp_path / "b.ply").face["flag"].tolist() == [9, 9]
    assert (
        read_ply(tmp_path / "l.ply").vertex_color.tolist() == np.arange(12).reshape(4, 3).tolist()
        and read_ply(tmp_path / "t.ply").vertex_color is None
    )


@pytest.mark.parametrize(
    "old, new, words",
    [
        (b"ply\n", b"plx\n", "not a PLY"),
        (b"end_header\n", b"", "no end"),
        (b"ascii", b"utf8", "line 2"),
        (b"vertex 3", b"vertex 4", "element face: 1 rows announced, 0 present"),
        (b"vertex 3", b"vertex 40", "40 rows announced, 4 present"),
        (b"vertex 3", b"vertex -3", "line 3"),
        (b"vertex 3", b"vertex 99999999999999999999", "line 3"),
        (b"double x", b"double q", "no coordinates"),
        (b"double y", b"quad y", "line 5"),
        (b"double y", b"double x", "element vertex"),
        (b"vertex_indices", b"corners", "vertex_indices"),
        (b"3 0 1 2", b"3 0 1 3", "row 0"),
        (b"3 0 1 2", b"3 0 1 -1", "row 0"),
        (b"3 0 1 2", b"4 0 1 2", "list of 4"),
        (b"3 0 1 2", b"3 0 one 2", "rows announced|not a number"),
        (b"format ascii 1.0\n", b"", "no format"),
    ],
)
def test_ply_faults_are_named(tmp_path, old, new, words):
    text = ply_text([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]])
    assert old in text
    path = tmp_path / "bad.ply"
    path.write_bytes(text.replace(old, new))
    message = complaint(read_ply, path)
    assert str(path) in message and any(word in message for word in words.split("|")), message


def small_ply(folder: Path) -> bytes:
    write_ply(folder / "good.ply", np.eye(4, 3), np.array([[0, 1, 2], [1, 2, 3]]))
    return (folder / "good.ply").read_bytes()


def test_ply_cut_anywhere_is_an_error(tmp_path):
    whole = small_ply(tmp_path)
    for length in range(len(whole)):
        (tmp_path / "cut.ply").write_bytes(whole[:length])
        assert "cut.ply" in complaint(read_ply, tmp_path / "cut.ply")


# ---------------------------------------------------------------------------------------------- the
# scan folder


@pytest.fixture(scope="module")
def toy():
    return box_room_scene(frames=4, width=96)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, toy):
    root = tmp_path_factory.mktemp("scannet")
    write_scannet(toy.with_frames(toy.frames[1:]), root, alignment=ALIGNMENT)
    return root


@pytest.fixture
def scan(tmp_path, dataset) -> Path:
    """A copy of the toy scan, to be damaged."""
    return Path(shutil.copytree(dataset / "scans" / SCAN, tmp_path / "scans" / SCAN))


def files(scan: Path) -> dict[str, Path]:
    return {
        "txt": scan / f"{SCAN}.txt",
        "sens": scan / f"{SCAN}.sens",
        "ply": scan / f"{SCAN}_vh_clean_2.ply",
        "segs": scan / f"{SCAN}_vh_clean_2.0.010000.segs.json",
        "aggregation": scan / f"{SCAN}.aggregation.json",
    }


def change(path: Path, edit) -> None:
    content = json.loads(path.read_bytes())
    edit(content)
    path.write_text(json.dumps(content))


def residual(scene) -> float:
    """Median distance of the back-projected depth to the nearest face of its object's box, by the
    toy room's own formula."""
    distances = []
    for frame in scene.frames:
        z = frame.read_depth()
        points = (
            frame.depth.back_project(z) @ frame.camera_to_world[:3, :3].T
            + frame.camera_to_world[:3, 3]
        )[z > 0]
        best = np.full(len(points), np.inf)
        for s in toy_solids():
            q = np.abs((points - s.box.center) @ s.box.axes) - s.box.size / 2
            best = np.minimum(
                best, np.abs(np.linalg.norm(np.maximum(q, 0), axis=1) + np.minimum(q.max(1), 0))
            )
        distances.append(best)
    return float(np.median(np.concatenate(distances)))


def test_toy_room_comes_back(dataset, toy):
    scene = ScanNet(root=dataset).load(SCAN)
    assert (
        scene.skipped == {"frame: pose is not finite": 1}
        and scene.room_type == "toy room"
        and scene.source == "scannet"
    )
    assert [f.index for f in scene.frames] == [1, 2, 3] and [i.id for i in scene.instances] == [
        1,
        2,
        3,
        4,
        6,
        7,
        8,
        9,
    ]
    for a, b in zip(scene.instances, toy.instances, strict=True):
        assert a.label == b.label
        assert (
            np.abs(a.box.center - b.box.center).max() < 1e-4
            and np.abs(a.box.size - b.box.size).max() < 1e-4
        )
        assert a.box.contains(b.box.corners, 1e-4).all()
    for a, b in zip(scene.frames, toy.frames[1:], strict=True):
        assert np.allclose(a.camera_to_world, b.camera_to_world, atol=1e-5)
        assert (
            np.abs(a.read_depth() - b.read_depth()).max() < 0.00051
            and a.read_depth().dtype == np.float32
        )
        assert np.abs(a.read_color().astype(int) - b.read_color()).mean() < 5
        data, suffix = a.read_encoded()
        assert suffix == ".jpg" and np.array_equal(
            np.asarray(Image.open(io.BytesIO(data))), a.read_color()
        )
    corners = scene.surface.vertices[scene.surface.triangles]
    assert np.allclose(corners, toy.surface.vertices[toy.surface.triangles], atol=1e-5)
    assert np.array_equal(scene.surface.triangle_instance, toy.surface.triangle_instance)
    assert residual(scene) < 1e-3


def test_rasterised_mesh_agrees_with_the_toy_rooms_own_rays(dataset, toy):
    scene = ScanNet(root=dataset).load(SCAN)
    for frame, made in zip(scene.frames, toy.frames[1:], strict=True):
        depth, ids, _ = render_depth_and_ids(scene.surface, frame.depth, frame.camera_to_world)
        assert (ids == made.read_instances()).mean() > 0.99
        assert np.median(np.abs(depth - frame.read_depth())) < 1e-3


def test_no_flipped_axis_passes(dataset):
    """The same check with one convention broken must fail: each camera axis mirrored, the pose
    inverted or transposed, the color camera used for depth."""
    scene = ScanNet(root=dataset).load(SCAN)
    right = residual(scene)
    for axis in range(3):
        mirror = np.eye(4)
        mirror[axis, axis] = -1
        assert (
            residual(
                scene.with_frames(
                    [replace(f, camera_to_world=f.camera_to_world @ mirror) for f in scene.frames]
                )
            )
            > 20 * right
        )
        assert (
            residual(
                scene.with_frames(
                    [replace(f, camera_to_world=mirror @ f.camera_to_world) for f in scene.frames]
                )
            )
            > 20 * right
        )
    assert (
        residual(
            scene.with_frames([replace(f, camera_to_world=f.world_to_camera) for f in scene.frames])
        )
        > 20 * right
    )
    swapped = [
        replace(f, depth=f.color.resized(f.depth.width, f.depth.height)) for f in scene.frames
    ]
    assert residual(scene.with_frames(swapped)) > 5 * right
    unaligned = [
        replace(f, camera_to_world=np.linalg.inv(ALIGNMENT) @ f.camera_to_world)
        for f in scene.frames
    ]
    assert residual(scene.with_frames(unaligned)) > 20 * right


def test_without_axis_alignment_the_scans_own_frame_is_the_world(tmp_path, toy):
    write_scannet(toy, tmp_path)
    assert "axisAlignment" not in (tmp_path / "scans" / SCAN / f"{SCAN}.txt").read_text()
    scene = ScanNet(root=tmp_path).load(SCAN)
    assert (
        np.allclose(scene.frames[0].camera_to_world, toy.frames[0].camera_to_world, atol=1e-6)
        and scene.skipped == {}
    )


@pytest.mark.parametrize("kind", ["txt", "sens", "ply", "segs", "aggregation"])
def test_each_missing_or_empty_file_is_named(scan, kind):
    path = files(scan)[kind]
    source = ScanNet(root=scan.parent)
    whole = path.read_bytes()
    path.unlink()
    message = complaint(source.load, SCAN)
    assert str(path) in message and "missing" in message
    if kind != "txt":  # an empty text file is one without an alignment
        path.write_bytes(b"")
        assert str(path) in complaint(source.load, SCAN)
        path.write_bytes(whole[: len(whole) // 2])
        assert str(path) in complaint(source.load, SCAN)
    path.unlink(missing_ok=True)
    path.mkdir()
    assert str(path) in complaint(source.load, SCAN)


@pytest.mark.parametrize(
    "line, words",
    [
        (
            "axisAlignment = 1 0 0",
            "line 2: axisAlignment must be a rigid motion of 16 numbers: 3 numbers",
        ),
        ("axisAlignment = " + "x " * 16, "line 2"),
        ("axisAlignment = " + "nan " * 16, "not finite"),
        ("axisAlignment = " + "2 " * 16, "not rigid"),
        ("axisAlignment = ", "0 numbers"),
    ],
)
def test_bad_alignment_is_named_with_its_line(scan, line, words):
    files(scan)["txt"].write_text(f"colorWidth = 96\n{line}\n")
    assert words in complaint(ScanNet(root=scan.parent).load, SCAN)


@pytest.mark.parametrize(
    "edit, words",
    [
        (lambda a: a.pop("segGroups"), "segGroups"),
        (lambda a: a.update(segGroups={}), "segGroups: expected a list"),
        (lambda a: a.update(segGroups=[]), "no annotated object"),
        (lambda a: a["segGroups"].__setitem__(1, 7), "segGroups[1]: expected an object"),
        (lambda a: a["segGroups"][2].update(objectId=-1), "segGroups[2].objectId: -1"),
        (lambda a: a["segGroups"][2].update(objectId=10**30), "segGroups[2].objectId"),
        (lambda a: a["segGroups"][2].update(objectId=True), "segGroups[2].objectId"),
        (lambda a: a["segGroups"][2].update(objectId=None), "segGroups[2].objectId"),
        (lambda a: a["segGroups"][0].update(label=3), "segGroups[0].label"),
        (lambda a: a["segGroups"][0].pop("segments"), "segGroups[0].segments"),
        (lambda a: a["segGroups"][0].update(segments=[1.5]), "segGroups[0].segments"),
        (lambda a: a["segGroups"][0].update(segments=[[1]]), "segGroups[0].segments"),
        (lambda a: a["segGroups"][0].update(segments=[1, "2"]), "segGroups[0].segments"),
        (
            lambda a: a["segGroups"][0].update(segments=[10**30]),
            "segGroups[0].segments|aggregation.json",
        ),
        (
            lambda a: [g.update(segments=[10**6]) for g in a["segGroups"]],
            "no annotated object; 8 x segment: not in the mesh; 8 x object",
        ),
    ],
)
def test_aggregation_faults_are_named(scan, edit, words):
    change(files(scan)["aggregation"], edit)
    message = complaint(ScanNet(root=scan.parent).load, SCAN)
    assert (
        any(word in message for word in words.split("|")) and f"{SCAN}.aggregation.json" in message
    ), message


def test_segment_faults_are_named(scan):
    path = files(scan)["segs"]
    source = ScanNet(root=scan.parent)
    change(path, lambda s: s["segIndices"].pop())
    assert "191 entries for the 192 vertices" in complaint(source.load, SCAN)
    for content, words in (
        ('{"segIndices": "abc"}', "list of integers"),
        ('{"params": {}}', "list of integers"),
        ("[1]", "an object"),
        ('{"segIndices": [1, 2', "line 1 column"),
        ("[" * 100_000, "not JSON"),
        ('{"segIndices": [' + "9" * 40 + "]}", "segs.json"),
    ):
        path.write_text(content)
        message = complaint(source.load, SCAN)
        assert words in message and str(path) in message


def test_doubled_empty_unknown_and_nameless_objects_are_counted_and_the_rest_is_read(scan, dataset):
    good = ScanNet(root=dataset).load(SCAN)

    def edit(aggregation):
        groups = aggregation["segGroups"]
        # as in scene0217_00
        again = [{**g, "id": g["id"] + 100, "objectId": g["objectId"] + 100} for g in groups]
        groups += [
            *again,
            {**groups[0], "label": "another floor"},
            {"id": 300, "objectId": 300, "segments": [], "label": "ghost"},
            {"id": 301, "objectId": 301, "segments": [123456789], "label": "ghost"},
            {"id": 302, "objectId": 302, "segments": groups[3]["segments"], "label": " "},
        ]
        groups[4]["segments"].append(987654321)

    change(files(scan)["aggregation"], edit)
    scene = ScanNet(root=scan.parent).load(SCAN)
    assert [(i.id, i.label) for i in scene.instances] == [(i.id, i.label) for i in good.instances]
    assert np.array_equal(scene.surface.triangle_instance, good.surface.triangle_instance)
    assert scene.skipped == {
        "frame: pose is not finite": 1,
        "object: has no label": 1,
        "object: has no segments": 1,
        "object: its number is taken": 1,
        "object: its segments are taken": 8,
        "object: none of its segments is in the mesh": 1,
        "segment: not in the mesh": 3,
    }


def test_segments_without_an_object_are_structure(scan):
    change(files(scan)["aggregation"], lambda a: a["segGroups"].pop(3))  # the table
    scene = ScanNet(root=scan.parent).load(SCAN)
    assert (
        4 not in [i.id for i in scene.instances]
        and (scene.surface.triangle_instance == 0).sum() == 12
    )


def test_vertices_that_are_not_finite_go_with_their_triangles(scan):
    mesh = read_ply(files(scan)["ply"])
    vertices = mesh.vertices.copy()
    vertices[[5, 60]], vertices[100, 2] = np.nan, 1e30
    write_ply(files(scan)["ply"], vertices, mesh.triangles)
    scene = ScanNet(root=scan.parent).load(SCAN)
    bad = np.isin(mesh.triangles, [5, 60, 100]).any(1)
    assert (
        scene.skipped["vertex: not finite"] == 2
        and scene.skipped["vertex: 10 km away or more"] == 1
        and len(scene.surface.vertices) == 189
        and np.isfinite(scene.surface.vertices).all()
    )
    assert len(scene.surface.triangles) == (~bad).sum() and len(scene.instances) == 8
    assert np.isfinite([i.box.center for i in scene.instances]).all()
    write_ply(files(scan)["ply"], np.full_like(vertices, np.nan), mesh.triangles)
    assert "no triangle has three finite vertices" in complaint(
        ScanNet(root=scan.parent).load, SCAN
    )


def test_a_thing_in_space_is_told_apart_from_one_that_is_not_finite(scan):
    """A book whose vertices lie 343 km above the room: each number is finite, and the reason says
    where they are."""
    mesh = read_ply(files(scan)["ply"])
    scene = ScanNet(root=scan.parent).load(SCAN)
    book = scene.instances[-1]
    vertices = mesh.vertices.copy()
    vertices[np.unique(mesh.triangles[scene.surface.triangle_instance == book.id]), 2] = 343_000.0
    write_ply(files(scan)["ply"], vertices, mesh.triangles)
    left = ScanNet(root=scan.parent).load(SCAN)
    assert (
        book.id not in [i.id for i in left.instances] and "vertex: not finite" not in left.skipped
    )
    assert (
        left.skipped["vertex: 10 km away or more"] == 24
        and left.skipped["object: none of its vertices is finite and less than 10 km away"] == 1
    )


def test_mesh_without_faces_and_scan_without_poses(scan, toy):
    mesh = read_ply(files(scan)["ply"])
    write_ply(files(scan)["ply"], mesh.vertices, mesh.triangles[:0])
    assert "the mesh has no faces" in complaint(ScanNet(root=scan.parent).load, SCAN)
    write_ply(files(scan)["ply"], mesh.vertices, mesh.triangles)
    color = toy.frames[0].color
    depth = toy.frames[0].depth
    lost = SensFrame(
        np.full((4, 4), -np.inf),
        np.zeros((color.height, color.width, 3), np.uint8),
        np.zeros((depth.height, depth.width), np.uint16),
    )
    for poses in ([], [lost.camera_to_world] * 3):
        write_sens(
            files(scan)["sens"],
            color,
            depth,
            [replace(lost, camera_to_world=pose) for pose in poses],
        )
        assert f"none of {len(poses)} frames has a valid pose" in complaint(
            ScanNet(root=scan.parent).load, SCAN
        )
    write_sens(
        files(scan)["sens"],
        color,
        depth,
        [
            replace(lost, camera_to_world=pose)
            for pose in (
                np.diag([1.0, 1, -1, 1]),
                np.zeros((4, 4)),
                np.eye(4),
                np.full((4, 4), np.nan),
            )
        ],
    )
    scene = ScanNet(root=scan.parent).load(SCAN)
    assert [f.index for f in scene.frames] == [2] and scene.skipped == {
        "frame: pose is not finite": 1,
        "frame: pose is not rigid": 2,
    }


# ----------------------------------------------------------------------------------------------
# finding scans


def bare(folder: Path, names) -> Path:
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / f"{name}.sens").write_bytes(b"")
    return folder


def test_the_root_may_be_the_dataset_its_scans_or_one_scan(dataset, monkeypatch):
    for root in (dataset, dataset / "scans", dataset / "scans" / SCAN, str(dataset)):
        source = ScanNet(root=root)
        assert source.scenes() == [SCAN] and source.load(SCAN).name == SCAN
    monkeypatch.chdir(dataset / "scans" / SCAN)
    assert ScanNet(root=Path(".")).load(SCAN).frames and ScanNet(root=Path("..")).scenes() == [SCAN]


def test_what_is_said_of_folders_without_scans(tmp_path):
    assert "no such folder" in complaint(ScanNet(root=tmp_path / "none").scenes)
    assert "the folder is empty" in complaint(ScanNet(root=tmp_path).scenes)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"x")
    assert "no ScanNet scan here" in complaint(
        ScanNet(root=tmp_path).scenes, "train"
    ) and "no ScanNet scan here" in complaint(ScanNet(root=tmp_path).describe)
    assert "not a folder" in complaint(ScanNet(root=tmp_path / "photos" / "a.jpg").scenes)
    (tmp_path / "scans").mkdir()
    assert "scans: the folder is empty" in complaint(ScanNet(root=tmp_path).scenes)
    assert "no scan scene0000_00" in complaint(ScanNet(root=tmp_path).load, "scene0000_00")


def test_names_from_files_never_leave_the_root(tmp_path, dataset):
    shutil.copytree(dataset, tmp_path / "data")
    shutil.copytree(dataset / "scans" / SCAN, tmp_path / "outside" / SCAN)
    (tmp_path / "data" / "scannetv2_train.txt").write_text(
        f"../outside/{SCAN}\n{SCAN}\n/etc\n\n..\n"
    )
    source = ScanNet(root=tmp_path / "data")
    assert "scannetv2_train.txt: line 5: expected one scene name, found '..'" in complaint(
        source.scenes, "train"
    )
    (tmp_path / "data" / "scannetv2_train.txt").write_text(f"../outside/{SCAN}\n{SCAN}\n/etc\n\n")
    assert source.scenes("train") == [SCAN] and source.scenes("val") == []
    for name in (
        f"../../outside/{SCAN}",
        str(tmp_path / "outside" / SCAN),
        "..",
        ".",
        "",
        f"{SCAN}/../{SCAN}",
        "a\0b",
    ):
        complaint(source.load, name)
    change(
        files(tmp_path / "data" / "scans" / SCAN)["aggregation"],
        lambda a: a.update(segmentsFile="../../../outside/x.json"),
    )  # never followed
    assert source.load(SCAN).name == SCAN
    # the user's own links are followed
    (tmp_path / "data" / "scans" / "linked").symlink_to(tmp_path / "outside")
    (tmp_path / "linked_root").symlink_to(tmp_path / "data")
    assert ScanNet(root=tmp_path / "linked_root").load(SCAN).name == SCAN


def test_sens_in_a_sibling_folder(tmp_path, dataset):
    shutil.copytree(dataset, tmp_path / "data")
    scan = tmp_path / "data" / "scans" / SCAN
    for place in (
        tmp_path / "data" / "scans_v1" / SCAN,
        tmp_path / "data" / "streams",
        tmp_path / "data" / "scans",
    ):
        place.mkdir(parents=True, exist_ok=True)
        (scan / f"{SCAN}.sens").rename(place / f"{SCAN}.sens")
        assert len(ScanNet(root=tmp_path / "data").load(SCAN).frames) == 3
        (place / f"{SCAN}.sens").rename(scan / f"{SCAN}.sens")


def test_splits(tmp_path):
    names = [f"scene{i:04d}_00" for i in range(12)]
    bare(tmp_path / "scans", names)
    source = ScanNet(root=tmp_path)
    assert (
        source.scenes("val") == [names[4], names[9]]
        and sorted(source.scenes("train") + source.scenes("val")) == source.scenes() == names
    )
    assert "by name" in source.describe()["split"]
    (tmp_path / "scannetv2_val.txt").write_text("scene0001_00\nscene0001_00\nscene9999_00\n")
    assert source.scenes("val") == [names[1]] and len(source.scenes("train")) == 11
    (tmp_path / "scannetv2_train.txt").write_text("scene0003_00\r\nscene0002_00\r\n")
    assert source.scenes("train") == [names[2], names[3]] and ScanNet(
        root=tmp_path / "scans"
    ).scenes("val") == [names[1]]
    assert source.describe()["split"] == "scannetv2_train.txt and scannetv2_val.txt" and str(
        tmp_path
    ) not in str(source.describe())
    assert ScanNet(root=tmp_path, count=1).scenes("train") == [names[2]]
    (tmp_path / "scannetv2_train.txt").write_text("scene0001_00\n")
    assert "scene0001_00 is in the training list as well" in complaint(source.scenes, "val")
    with pytest.raises(ValueError, match="train or val"):
        source.scenes("test")


def test_split_by_name_keeps_a_space_together():
    names = [f"scene{i:04d}_{j:02d}" for i in range(20) for j in range(3)]
    parts = split_by_name(names)
    assert {n[:9] for n in parts["train"]}.isdisjoint({n[:9] for n in parts["val"]}) and len(
        parts["val"]
    ) == 12
    assert (
        split_by_name(["a_00", "b_00"]) == {"train": ["a_00"], "val": ["b_00"]}
        and split_by_name(["a_00"])["val"] == []
    )


def test_a_source_and_its_frames_travel_to_another_process(dataset):
    source = pickle.loads(pickle.dumps(ScanNet(root=dataset, frames=2)))
    scene = source.load(SCAN)
    assert len(scene.frames) == 2
    frame = pickle.loads(pickle.dumps(scene.frames[0]))
    assert np.array_equal(frame.read_depth(), scene.frames[0].read_depth())


# ----------------------------------------------------------------------------------------------
# frames, export


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 7, 11])
def test_chosen_frames_are_spread(limit):
    scene = box_room_scene(frames=11, width=32)
    rows = [f.index for f in select_frames(scene, limit).frames]
    gaps = np.diff(rows)
    assert len(rows) == limit and (
        limit == 1 or (gaps.min() >= 11 // limit and gaps.max() <= -(-11 // limit) + 1)
    )
    assert abs(rows[0] - (10 - rows[-1])) <= 1


def test_frame_choice_faults_and_blur():
    scene = box_room_scene(frames=4, width=64)
    assert select_frames(scene, None) is scene and select_frames(scene, 9) is scene
    for limit, candidates in ((0, 1), (2, 0)):
        with pytest.raises(ValueError):
            FrameSelection(limit=limit, candidates=candidates)
    with pytest.raises(ValueError):
        select_frames(scene, 0)
    flat = [
        replace(f, read_color=lambda: np.zeros((48, 64, 3), np.uint8)) if i in (0, 3) else f
        for i, f in enumerate(scene.frames)
    ]
    assert [
        f.index
        for f in select_frames(
            scene.with_frames(flat), FrameSelection(limit=2, candidates=2)
        ).frames
    ] == [1, 2]
    assert sharpness(scene.frames[0].read_color()) > 0


def test_export_refuses_what_the_format_cannot_hold(tmp_path, toy):
    other = replace(toy.frames[1], color=toy.frames[1].color.resized(48, 36))
    with pytest.raises(ValueError, match="another camera"):
        write_scannet(toy.with_frames([toy.frames[0], other]), tmp_path)
    with pytest.raises(ValueError, match="without frames"):
        write_scannet(toy.with_frames([]), tmp_path)
    with pytest.raises(ValueError, match="train or val"):
        write_scannet(toy, tmp_path, split="test")
    with pytest.raises(ValueError, match="folder name"):
        write_scannet(replace(toy, name="../x"), tmp_path)
    assert list(tmp_path.rglob("*.sens")) == []


def test_export_passes_jpeg_on_and_repeats_itself(tmp_path, dataset):
    scene = ScanNet(root=dataset).load(SCAN)
    write_scannet(scene, tmp_path / "a", alignment=ALIGNMENT, split="train")
    write_scannet(scene, tmp_path / "b", alignment=ALIGNMENT, split="train")
    for path in sorted((tmp_path / "a").rglob("*.*")):
        if path.is_file():
            assert (
                path.read_bytes()
                == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()
            )
    again = ScanNet(root=tmp_path / "a").load(SCAN)
    for a, b in zip(scene.frames, again.frames, strict=True):
        assert (
            a.index == b.index
            and a.read_encoded() == b.read_encoded()
            and np.array_equal(a.read_depth(), b.read_depth())
        )
    assert ScanNet(root=tmp_path / "a").scenes("train") == [SCAN]


# ---------------------------------------------------------------------------------------------- the
# small house


@pytest.fixture(scope="module")
def house():
    if not HOUSE.is_dir():
        pytest.skip("the small house is not here")
    return ScanNet(root=HOUSE)


def test_small_house_numbers(house):
    assert house.scenes("train") == [
        "scene9000_00",
        "scene9001_00",
        "scene9002_00",
    ] and house.scenes("val") == ["scene9003_00"]
    for name, instances in zip(house.scenes(), (33, 25, 27, 20), strict=True):
        scene = house.load(name)
        assert (
            len(scene.frames) == 59
            and scene.skipped == {"frame: pose is not finite": 1}
            and len(scene.instances) == instances
        )
        frame = scene.frames[0]
        assert (frame.color.width, frame.color.height, frame.depth.width, frame.depth.height) == (
            648,
            484,
            320,
            242,
        )
        assert frame.color.intrinsics[0, 0] / 648 != pytest.approx(
            frame.depth.intrinsics[0, 0] / 320, rel=1e-4
        )
        assert (scene.surface.triangle_instance > 0).all() and {
            i.id for i in scene.instances
        } == set(scene.surface.triangle_instance.tolist())
        floor = next(i for i in scene.instances if i.label == "floor")
        assert abs(floor.box.center[2] + floor.box.size[2] / 2) < 0.02 and all(
            f.camera_to_world[2, 3] > 0.5 for f in scene.frames
        )


@pytest.mark.parametrize("name", ["scene9000_00", "scene9001_00", "scene9002_00", "scene9003_00"])
def test_small_house_depth_and_colour_lie_on_the_mesh(house, name):
    scene = select_frames(house.load(name), 6)
    for frame in scene.frames:
        sensor = frame.read_depth()
        depth, ids, _ = render_depth_and_ids(scene.surface, frame.depth, frame.camera_to_world)
        both = (sensor > 0) & (depth > 0)
        assert both.mean() > 0.75 and np.median(np.abs(sensor - depth)[both]) < 0.001
        points = (
            frame.depth.back_project(sensor) @ frame.camera_to_world[:3, :3].T
            + frame.camera_to_world[:3, 3]
        )
        # what is measured where an object should be lies in that object's box
        for instance in scene.instances:
            mine = both & (ids == instance.id)
            if mine.sum() >= 50:
                assert instance.box.contains(points[mine], 0.02).mean() > 0.9, (
                    frame.index,
                    instance.label,
                )
        color = frame.color.resized(162, 121)
        picture = (
            np.asarray(Image.fromarray(frame.read_color()).resize((162, 121), Image.Resampling.BOX))
            .astype(float)
            .mean(-1)
        )
        _, _, triangle = render_depth_and_ids(scene.surface, color, frame.camera_to_world)
        seen = triangle >= 0
        expected = np.zeros(triangle.shape)
        expected[seen] = scene.surface.vertex_color[scene.surface.triangles[triangle[seen]]].mean(
            (1, 2)
        )

        def match(image, expected=expected, seen=seen):
            return np.corrcoef(image[seen], expected[seen])[0, 1]

        assert match(picture) > max(
            match(picture[:, ::-1]), match(picture[::-1]), match(picture[::-1, ::-1]), 0.3
        ), frame.index


def test_small_house_answers_every_task(house, tmp_path):
    for split in ("train", "val"):
        made = generate(
            house,
            tmp_path,
            split=split,
            tasks=list(TASKS),
            per_task=1,
            frames_per_scene=32,
            width=120,
            leakage="allow",
            progress=False,
        )
        assert not made.failed
    report = verify(tmp_path)
    assert report.mismatched == 0 and report.problems == [] and report.checked > 200
    assert {name for name, task in report.tasks.items() if task.checked} == set(TASKS)
