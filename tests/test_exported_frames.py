"""Frames as ScanNet's C++ SensReader writes them, and depth images that are none."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spar_kit.data.generate import generate
from spar_kit.data.records import read_records
from spar_kit.scenes.box_room import box_room_scene
from spar_kit.scenes.formats.images import read_depth_file
from spar_kit.scenes.readers.scannet.reader import ScanNet
from spar_kit.scenes.readers.scannet.sens import open_sens
from spar_kit.scenes.readers.scannet.writer import write_scannet
from spar_kit.scenes.scene import Camera, SceneError

NAME = "scene0000_00"


def pgm(values: np.ndarray, most: int = 65535, comment: str = "") -> bytes:
    return (
        f"P5\n{comment}{values.shape[1]} {values.shape[0]}\n{most}\n".encode()
        + values.astype(">u2").tobytes()
    )


def exported(
    root: Path,
    depth: str = "png",
    color: str = "jpg",
    *,
    info: str = "{} = {}\n",
    shift: float = 1000,
    encoding: str = "utf-8",
    form: str = "frame-{:06d}.{}.{}",
) -> Path:
    """The toy room's stream taken apart as `sens` of ScanNet's SensReader/c++ does."""
    write_scannet(box_room_scene(frames=4, width=96, name=NAME), root)
    file = next(root.rglob("*.sens"))
    sens = open_sens(file)
    out = file.parent
    for i in range(len(sens)):
        Image.fromarray(sens.read_color(i)).save(out / form.format(i, "color", color), quality=95)
        units = (sens.read_units(i) * (shift / 1000)).astype(np.uint16)
        if depth == "png":
            Image.fromarray(units).save(out / form.format(i, "depth", depth))
        else:
            (out / form.format(i, "depth", depth)).write_bytes(pgm(units))
        (out / form.format(i, "pose", "txt")).write_text(
            "\n".join(" ".join(f"{v:f}" for v in row) for row in sens.camera_to_world[i]) + "\n"
        )
    said = [("m_versionNumber", 4), ("m_sensorName", "StructureSensor"), ("m_depthShift", shift)]
    for name, camera in (("Color", sens.color), ("Depth", sens.depth)):
        matrix = np.eye(4)
        matrix[:3, :3] = camera.intrinsics
        said += [
            (f"m_{name.lower()}Width", camera.width),
            (f"m_{name.lower()}Height", camera.height),
            (f"m_calibration{name}Intrinsic", " ".join(f"{v:f}" for v in matrix.ravel())),
        ]
    (out / "_info.txt").write_bytes("".join(info.format(*pair) for pair in said).encode(encoding))
    file.unlink()
    return root


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"depth": "pgm"},
        {"color": "png"},
        {"shift": 5000},
        {"info": "{}={}\r\n", "encoding": "utf-16"},
        {"info": "{}\t{}\n"},
        {"form": "frame-{}.{}.{}"},
    ],
)
def test_frames_of_the_sensreader_in_c(tmp_path: Path, how: dict) -> None:
    made = box_room_scene(frames=4, width=96, name=NAME)
    scene = ScanNet(root=exported(tmp_path, **how)).load(NAME)
    assert len(scene.frames) == 4 and not scene.skipped
    for frame, wanted in zip(scene.frames, made.frames):
        assert (
            np.abs(frame.camera_to_world - wanted.camera_to_world).max() < 1e-4
            and np.abs(frame.read_depth() - wanted.read_depth()).max() < 0.0011
        )
        assert (
            np.abs(frame.color.intrinsics - wanted.color.intrinsics).max() < 1e-3
            and np.abs(frame.depth.intrinsics - wanted.depth.intrinsics).max() < 1e-3
        )
        assert np.abs(frame.read_color().astype(float) - wanted.read_color()).mean() < 6
    assert ScanNet(root=tmp_path).summary(NAME).frames == 4
    records = generate(
        ScanNet(root=tmp_path),
        tmp_path / "out",
        tasks="depth_prediction_oc",
        per_task=2,
        width=96,
        progress=False,
    )
    assert records.records > 0
    for record, root in read_records(tmp_path / "out"):
        with Image.open(root / record["depth"][0]) as image:
            wanted = made.frames[record["facts"]["frames"][0]].read_depth() * 1000
            assert image.mode.startswith("I") and np.abs(np.asarray(image) - wanted).max() < 1.1


def test_what_exported_frames_lack_is_counted_or_said(tmp_path: Path) -> None:
    folder = next(exported(tmp_path, depth="pgm").rglob("_info.txt")).parent
    (folder / "frame-000001.pose.txt").write_text("-1.#INF " * 16)
    (folder / "frame-000002.depth.pgm").unlink()
    scene = ScanNet(root=tmp_path).load(NAME)
    assert [frame.index for frame in scene.frames] == [0, 3] and sum(scene.skipped.values()) == 2
    text = (folder / "_info.txt").read_text()
    (folder / "_info.txt").write_text(text.replace("m_depthShift = 1000", "m_depthShift = 0"))
    with pytest.raises(SceneError, match="_info.txt: m_depthShift"):
        ScanNet(root=tmp_path).load(NAME)
    (folder / "_info.txt").write_text(
        text.replace("m_calibrationColorIntrinsic = ", "m_calibrationColorIntrinsic = 1 2 ")
    )
    with pytest.raises(SceneError, match="m_calibrationColorIntrinsic: 18 numbers"):
        ScanNet(root=tmp_path).load(NAME)


def test_a_pgm_is_read_as_stored_or_refused(tmp_path: Path) -> None:
    camera = Camera(4, 3, np.eye(3))
    values = np.arange(12, dtype=np.uint16).reshape(3, 4) * 300
    path = tmp_path / "d.pgm"
    for data in (pgm(values), pgm(values, most=4095), pgm(values, comment="# depth\n")):
        path.write_bytes(data)
        assert np.array_equal(read_depth_file(path, camera), (values / 1000).astype(np.float32))
    for data, words in (
        (pgm(values)[:-1], "ends early"),
        (pgm(values, most=255), "8 bit"),
        (pgm(values.T), "3x4 where 4x3"),
        (b"P2\n4 3\n65535\n" + b"1 " * 12, "not a PGM"),
        (b"", "not a PGM"),
    ):
        path.write_bytes(data)
        with pytest.raises(SceneError, match=words):
            read_depth_file(path, camera)


@pytest.mark.parametrize("kind", ["1", "L", "LA", "P", "RGB", "RGBA", "RGB of 16 bit"])
@pytest.mark.parametrize("images", ["copy", "link", "convert"])
def test_depth_of_8_bit_or_in_color_is_never_copied_as_depth(
    tmp_path: Path, kind: str, images: str
) -> None:
    root = exported(tmp_path / "in")
    for k, path in enumerate(sorted(root.rglob("*.depth.png"))):
        # every second frame is sound
        if k % 2 == 0:
            small = (np.asarray(Image.open(path)) // 40).astype(np.uint8)
            if kind == "RGB of 16 bit":
                path.write_bytes(png_rgb16(small.astype(np.uint16) * 257))
            else:
                Image.fromarray(small).convert(kind).save(path)
    made = generate(
        ScanNet(root=root),
        tmp_path / "out",
        tasks="depth_prediction_oc,obj_frame_locate",
        per_task=4,
        width=96,
        images=images,
        progress=False,
    )
    assert made.part["skipped"][
        "frame: its image cannot be read"
    ] == 2 and "one channel of 16 bit" in str(made)
    kept = list((tmp_path / "out").rglob("image_depth/*.png"))
    assert kept and all(Image.open(path).mode.startswith("I") for path in kept)
    shutil.rmtree(tmp_path / "out")


def png_rgb16(gray: np.ndarray) -> bytes:
    """A PNG of three channels of 16 bits; Pillow opens it as RGB of 8."""
    import struct
    import zlib

    height, width = gray.shape
    rows = b"".join(b"\0" + np.repeat(row[:, None], 3, 1).astype(">u2").tobytes() for row in gray)
    parts = (
        (b"IHDR", struct.pack(">2I5B", width, height, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )
