"""Random damage to every kind of file that the readers of scenes open: a SceneError that names the
file, or a result; nothing else, and soon."""

import io
import os
import shutil
import struct
import zipfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from exporters.scannet_trees import png, write_label_table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_scannet import SCAN, by_hand, files, ply_text, read_all

from spar_kit.scenes.box_room import box_room_scene
from spar_kit.scenes.formats.ply import read_ply, write_ply
from spar_kit.scenes.readers.scannet.exported_frames import (
    detect_layout,
    frames_of_tree,
    read_depth_file,
    read_encoded_file,
    read_matrix,
)
from spar_kit.scenes.readers.scannet.labels import list_archive, read_ids, read_labels
from spar_kit.scenes.readers.scannet.reader import ScanNet, read_info
from spar_kit.scenes.readers.scannet.writer import write_scannet
from spar_kit.scenes.scene import Camera, SceneError

FUZZ = settings(
    max_examples=60,
    deadline=timedelta(seconds=5),
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
WORDS = [
    b"-1",
    b"1e9",
    b"1e400",
    b"nan",
    b"-inf",
    b"null",
    b"[",
    b"}",
    b'"',
    b"\t",
    b"\n",
    b"\0",
    b"999999999999",
    b"list",
    struct.pack("<Q", 2**63),
    struct.pack("<I", 2**31),
]
EDITS = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 6),
        st.one_of(st.binary(max_size=12), st.sampled_from(WORDS)),
    ),
    max_size=5,
)
CUT = st.one_of(st.none(), st.floats(0, 1))


def damaged(whole: bytes, edits: list, cut: float | None) -> bytes:
    """At each place, given as a share of the length, so many bytes are replaced by others; then the
    end is cut off."""
    data = bytearray(whole)
    for share, gone, new in edits:
        at = int(share * len(data))
        data[at : at + gone] = new
    return bytes(data if cut is None else data[: int(cut * len(data))])


def survives(path: Path, data: bytes, read: Callable[[Path], object]) -> object:
    path.write_bytes(data)
    try:
        return read(path)
    except SceneError as error:
        assert path.name in str(error) and "\n" not in str(error)
        return None


SENS = b"".join(data for _, data in by_hand())
SENS_RAW = b"".join(
    data
    for _, data in by_hand(
        version=3,
        color=bytes(144),
        depth=bytes(40),
        replaced=dict.fromkeys(["color_compression", "depth_compression"], bytes(4)),
    )
)


@FUZZ
@given(whole=st.sampled_from([SENS, SENS_RAW]), edits=EDITS, cut=CUT)
def test_sens(tmp_path, whole, edits, cut):
    survives(tmp_path / "fuzz.sens", damaged(whole, edits, cut), read_all)


@FUZZ
@given(data=st.binary(max_size=600), start=st.sampled_from([b"", struct.pack("<IQ", 4, 3)]))
def test_any_bytes_as_sens(tmp_path, data, start):
    survives(tmp_path / "fuzz.sens", start + data, read_all)


def some_plys() -> list[bytes]:
    return [
        ply_text([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]]),
        b"ply\nformat binary_big_endian 1.0\nelement vertex 3\nproperty float x\nproperty float"
        b" y\nproperty float z\nproperty uchar red\nelement face 1\nproperty list uint8 uint32"
        b" vertex_index\nend_header\n"
        + b"".join(struct.pack(">3fB", k, k * k, 1, k) for k in range(3))
        + struct.pack(">B3I", 3, 0, 1, 2),
    ]


@FUZZ
@given(which=st.integers(0, 2), edits=EDITS, cut=CUT)
def test_ply(tmp_path, which, edits, cut):
    write_ply(tmp_path / "good.ply", np.eye(4, 3), np.array([[0, 1, 2], [1, 2, 3]]))
    whole = [(tmp_path / "good.ply").read_bytes(), *some_plys()][which]
    mesh = survives(tmp_path / "fuzz.ply", damaged(whole, edits, cut), read_ply)
    assert (
        mesh is None
        or mesh.triangles.size == 0
        or (mesh.triangles.min() >= 0 and mesh.triangles.max() < len(mesh.vertices))
    )


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("fuzz")
    write_scannet(box_room_scene(frames=2, width=32), root, alignment=np.eye(4))
    return root / "scans" / SCAN


@FUZZ
@given(kind=st.sampled_from(["txt", "segs", "aggregation"]), edits=EDITS, cut=CUT)
def test_text_files_of_a_scan(scan, kind, edits, cut):
    path = files(scan)[kind]
    whole = path.read_bytes()
    path.write_bytes(damaged(whole, edits, cut))
    try:
        scene = ScanNet(root=scan.parent).load(SCAN)
        assert (
            len(scene.instances) >= 1 and np.isfinite([i.box.center for i in scene.instances]).all()
        )
    except SceneError as error:
        assert SCAN in str(error)
    finally:
        path.write_bytes(whole)


@FUZZ
@given(edits=EDITS, cut=CUT, kind=st.sampled_from(["info", "matrix"]))
def test_numbers_in_text(tmp_path, edits, cut, kind):
    if kind == "info":
        whole = (
            b"axisAlignment = "
            + b"1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1\n"
            + b"fx_color = 1170.187988\nsceneType = Office\n"
        )
    else:
        whole = b"1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n"
    found = survives(
        tmp_path / "fuzz.txt",
        damaged(whole, edits, cut),
        read_info if kind == "info" else read_matrix,
    )
    assert found is None or (
        np.isfinite(found.alignment).all() if kind == "info" else found.shape == (4, 4)
    )


@FUZZ
@given(edits=EDITS, cut=CUT)
def test_label_table(tmp_path, edits, cut):
    write_label_table(tmp_path, [("chair", "chair", 5, "chair"), ("lamp", "lamp", 35, "lamp")])
    whole = (tmp_path / "scannetv2-labels.combined.tsv").read_bytes()
    names = survives(
        tmp_path / "fuzz.tsv",
        damaged(whole, edits, cut),
        lambda path: read_labels(path, "nyu40class"),
    )
    assert names is None or all(isinstance(name, str) and name for name in names.values())


def a_zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for k in range(2):
            archive.writestr(
                f"instance-filt/{k}.png", png(np.arange(48, dtype=np.uint8).reshape(6, 8))
            )
    return out.getvalue()


@FUZZ
@given(edits=EDITS, cut=CUT)
def test_instance_archive(tmp_path, edits, cut):
    camera = Camera.from_fov(8, 6, 60)
    images = survives(tmp_path / "fuzz.zip", damaged(a_zip(), edits, cut), list_archive)
    for place in images.places.values() if images else ():
        try:
            assert read_ids(place, camera, camera).shape == (6, 8)
        except SceneError as error:
            assert "fuzz.zip" in str(error)


@FUZZ
@given(edits=EDITS, cut=CUT, deep=st.booleans())
def test_images(tmp_path, edits, cut, deep):
    camera = Camera.from_fov(16, 12, 60)
    out = io.BytesIO()
    Image.fromarray(np.arange(576, dtype=np.uint32).astype(np.uint8).reshape(12, 16, 3)).save(
        out, "JPEG"
    )
    whole = png(np.arange(192, dtype=np.uint16).reshape(12, 16)) if deep else out.getvalue()
    survives(
        tmp_path / "fuzz.png",
        damaged(whole, edits, cut),
        lambda path: (read_depth_file if deep else read_encoded_file)(path, camera),
    )


@FUZZ
@given(
    names=st.lists(
        st.sampled_from(
            [
                "0.jpg",
                "00000.jpg",
                "0.png",
                "0.txt",
                "1.jpg",
                "1.txt",
                "1.png",
                "x.jpg",
                "-1.jpg",
                "99999999999.jpg",
                "intrinsic.txt",
                "depth_intrinsic.txt",
                "color/0.jpg",
                "pose/0.txt",
                "depth/0.png",
                "intrinsics_color.txt",
                "pose",
                "color",
            ]
        ),
        max_size=10,
    ),
    contents=st.lists(
        st.sampled_from(
            [
                b"",
                b"1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1",
                b"20 0 7.5 0 20 5.5 0 0 1",
                b"nan " * 16,
                png(np.zeros((12, 16), np.uint16)),
                png(np.zeros((9, 16), np.uint16)),
                png(np.zeros((12, 16, 3), np.uint8)),
            ]
        ),
        min_size=1,
        max_size=10,
    ),
)
def test_trees(tmp_path, names, contents):
    folder = tmp_path / "tree"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for k, name in enumerate(names):
        path = folder / name
        if not path.exists() and not path.parent.is_file():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(contents[k % len(contents)])
    tree = detect_layout(folder)
    try:
        for frame in frames_of_tree(tree, np.eye(4), {})[0] if tree else ():
            frame.read_color(), frame.read_depth()
    except SceneError as error:
        assert str(folder) in str(error)
    assert os.path.isdir(folder)
