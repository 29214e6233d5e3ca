"""Pictures that others made: of the right kind, in their folder, whole, upright, and of a size that
fits into memory; or one error that names them."""

import io
import os
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from spar_kit.bench.benchmarks import BenchmarkError, open_benchmark
from spar_kit.bench.interop.lmms_eval import export_lmms_eval
from spar_kit.bench.interop.vlmeval import export_vlmeval
from spar_kit.cli.main import main
from spar_kit.core.files import alone, check_folder, leaves
from spar_kit.data.generate import generate
from spar_kit.data.records import load_images, read_records
from spar_kit.oracle.verify import verify
from spar_kit.scenes.formats.images import ImageError, lazy_picture, open_numbers, open_picture
from spar_kit.scenes.sources import open_source

COLORS = np.dstack(
    [
        np.tile(np.arange(40, dtype=np.uint8) * 6, (30, 1)),
        np.tile(np.arange(30, dtype=np.uint8)[:, None] * 8, (1, 40)),
        np.full((30, 40), 99, np.uint8),
    ]
)


NOISE = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)


def coded(image: Image.Image, format: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def huge_png(side: int = 30_000) -> bytes:
    """A PNG of side x side pixels, a bit each, of a few kilobytes."""
    row = b"\0" + bytes(-(-side // 8))
    squeeze = zlib.compressobj(9)
    data = b"".join(squeeze.compress(row) for _ in range(side)) + squeeze.flush()
    parts = (
        (b"IHDR", struct.pack(">2I5B", side, side, 1, 0, 0, 0, 0)),
        (b"IDAT", data),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )


EPS = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 30\n%%EndComments\n(/tmp/spar_eps_was_run) (w)"
    b" file closefile\nshowpage\n%%EOF\n"
)
BAD = {
    "EPS": EPS,
    "text": b"not an image",
    "nothing": b"",
    "cut JPEG": coded(Image.fromarray(COLORS), "JPEG")[:-80],
    "cut PNG": coded(Image.fromarray(NOISE), "PNG")[:-900],
    "cut WebP": coded(Image.fromarray(NOISE), "WEBP")[:-900],
    "cut TIFF": coded(Image.fromarray(NOISE), "TIFF")[:-900],
    "huge PNG": huge_png(),
    "9000 x 9000": huge_png(9000),
    "real numbers": coded(Image.fromarray(np.ones((30, 40), np.float32)), "TIFF"),
    "numbers of 32 bits": coded(Image.fromarray(np.full((30, 40), 1 << 20, np.int32)), "TIFF"),
    "PDF": b"%PDF-1.4 ...",
    "XBM": b"#define a_width 8\n#define a_height 1\nstatic char a_bits[] = { 0x1 };",
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_picture_is_one_clear_error(tmp_path: Path, kind: str) -> None:
    (tmp_path / "p.jpg").write_bytes(BAD[kind])
    for source, name in ((tmp_path / "p.jpg", ""), (BAD[kind], "p.jpg")):
        with pytest.raises(ImageError, match=r"p\.jpg: ") as caught:
            open_picture(source, name)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    assert not Path("/tmp/spar_eps_was_run").exists()


def test_a_pipe_a_device_and_a_folder_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    for path in (tmp_path / "pipe.png", tmp_path / "zero.png", tmp_path, tmp_path / "none.png"):
        with pytest.raises(ImageError):
            lazy_picture(path)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_pictures_are_turned_as_datasets_turns_them(turn: int, format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    data = coded(
        Image.fromarray(COLORS),
        format,
        exif=exif,
        **({"lossless": True} if format == "WEBP" else {}),
    )
    # datasets.features.Image.decode_example
    with Image.open(io.BytesIO(data)) as image:
        wanted = (
            ImageOps.exif_transpose(image) if image.getexif().get(0x0112) is not None else image
        )
        wanted = np.asarray(wanted.convert("RGB"))
    assert np.array_equal(np.asarray(open_picture(data, upright=True)), wanted)
    # of which Pillow turns the pixels itself
    if format != "TIFF":
        assert np.asarray(open_picture(data)).shape == COLORS.shape
    assert turn == 1 or not np.array_equal(
        wanted, np.asarray(open_picture(coded(Image.fromarray(COLORS), format)))
    )


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_gray_of_16_bits_keeps_its_upper_8(format: str) -> None:
    gray = (np.arange(1200).reshape(30, 40) * 54).astype(np.uint16)
    shown = np.asarray(open_picture(coded(Image.fromarray(gray), format)))
    assert np.array_equal(
        shown, np.repeat((gray >> 8).astype(np.uint8)[..., None], 3, 2)
    ) and np.array_equal(open_numbers(coded(Image.fromarray(gray), format)), gray)


@given(
    st.binary(max_size=200),
    st.integers(0, 1500),
    st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"]),
)
@settings(max_examples=300, deadline=None)
def test_damaged_pictures_are_an_image_error_or_a_picture(
    noise: bytes, place: int, format: str
) -> None:
    data = coded(Image.fromarray(COLORS), format)
    for upright in (False, True):
        try:
            assert (
                open_picture(
                    data[:place] + noise + data[place + len(noise) :], "p", upright=upright
                ).mode
                == "RGB"
            )
        except ImageError as error:
            assert str(error).startswith("p: ")


# --- Parquet of a stranger
# ----------------------------------------------------------------------------------------------------------  # noqa: E501


def parquet(path: Path, cells: list) -> Path:
    rows = [
        {
            "id": k,
            "task": "depth_prediction_oc",
            "format_type": "fill",
            "question": "How deep is the chair?",
            "answer": "1",
            "image": cell,
        }
        for k, cell in enumerate(cells)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_pictures_in_a_strangers_parquet(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = coded(Image.fromarray(COLORS), "JPEG", exif=exif)
    path = parquet(
        tmp_path / "a.parquet",
        [[{"bytes": data, "path": "0.jpg"}] for data in (turned, *BAD.values())],
    )
    items = open_benchmark(f"parquet:{path}").items
    assert items[0].load()[0].size == (30, 40)
    for item in [item for item in items[1:]]:
        with pytest.raises(BenchmarkError, match=rf"a.parquet: row {item.id}: image\[0\]: "):
            item.load()
    (tmp_path / "secret.png").write_bytes(coded(Image.fromarray(COLORS), "PNG"))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "link.png").symlink_to("../secret.png")
    (item,) = open_benchmark(
        f"parquet:{parquet(tmp_path / 'set' / 'b.parquet', [[{'bytes': None, 'path': 'link.png'}]])}"  # noqa: E501
    ).items
    with pytest.raises(BenchmarkError, match="is a link that leaves"):
        item.load()


# --- data sets
# ----------------------------------------------------------------------------------------------------------------------  # noqa: E501


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures") / "set"
    generate(
        open_source("synthetic", scenes=2, frames=8, width=160),
        folder,
        split="val",
        tasks="depth_prediction_oc,distance_prediction_oo",
        per_task=4,
        progress=False,
    )
    return folder


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(made, tmp_path / "set"))


def pictures(data: Path) -> list[Path]:
    return sorted(
        {root / image for record, root in read_records(data, "val") for image in record["image"]}
    )


DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:900]),
    "nearly whole": lambda path: path.write_bytes(path.read_bytes()[:-300]),
    "emptied": lambda path: path.write_bytes(b""),
    "EPS": lambda path: path.write_bytes(EPS),
    "huge": lambda path: path.write_bytes(huge_png()),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "a link outside": lambda path: (
        path.rename(path.parents[5] / "outside.jpg"),
        path.symlink_to(path.parents[5] / "outside.jpg"),
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_one_bad_picture_is_a_fault_of_its_records_and_the_others_are_exported(
    data: Path, tmp_path: Path, damage: str
) -> None:
    path = pictures(data)[0]
    told = [
        record["id"]
        for record, root in read_records(data, "val", formats=("fill", "select", "judge"))
        if root / record["image"][0] == path
    ]
    every = sum(1 for _ in read_records(data, "val"))
    here = sum(root / record["image"][0] == path for record, root in read_records(data, "val"))
    DAMAGE[damage](path)
    report = verify(data)
    assert (
        not report.ok
        and report.mismatched == here < every
        and report.checked + report.not_checkable == every
    )
    if damage == "a link outside":
        with pytest.raises(ValueError, match="is a link that leaves"):
            open_benchmark(str(data), strict=True)
        benchmark = open_benchmark(str(data))
        assert benchmark.skipped == len(told) and sum(
            "is a link that leaves" in line for line in benchmark.problems
        ) == len(told)
        return
    benchmark = open_benchmark(str(data))
    for export, name in ((export_lmms_eval, "one"), (export_vlmeval, "two")):
        problems: list[str] = []
        export(benchmark, tmp_path / name, problems=problems)
        assert len(problems) == len(told) < len(benchmark.items) and all(
            any(id in line and path.name in line for line in problems) for id in told
        )
        with pytest.raises((ValueError, OSError), match=path.name):
            export(benchmark, tmp_path / name)
    for picture in pictures(data):
        picture.unlink()
        picture.write_bytes(b"")
    for export in (export_lmms_eval, export_vlmeval):
        with pytest.raises(ValueError, match="no question to export, no picture can be read"):
            export(benchmark, tmp_path / "none", problems=[])


def test_links_inside_the_folder_and_a_linked_folder_are_followed(
    data: Path, tmp_path: Path
) -> None:
    path = pictures(data)[0]
    path.rename(path.with_name("moved.jpg"))
    path.symlink_to("moved.jpg")
    (tmp_path / "other").symlink_to(data)
    record, root = next((record, root) for record, root in read_records(tmp_path / "other", "val"))
    assert load_images(record, root) and verify(tmp_path / "other").ok
    assert not leaves(path, root) and leaves(root / "../x", root)


def test_a_turned_photograph_is_written_as_its_camera_saw_it(tmp_path: Path) -> None:
    from test_exported_frames import exported

    from spar_kit.scenes.readers.scannet.reader import ScanNet

    root = exported(tmp_path / "in")
    exif = Image.Exif()
    exif[0x0112] = 6
    for path in root.rglob("*.color.jpg"):
        Image.open(path).save(path, exif=exif, quality=95)
    for images in ("copy", "link"):
        made = generate(
            ScanNet(root=root),
            tmp_path / images,
            tasks="depth_prediction_oc",
            per_task=2,
            width=96,
            images=images,
            progress=False,
        )
        assert "colour converted" in str(made)
        for path in (tmp_path / images).rglob("image_color/*.jpg"):
            with Image.open(path) as image:
                assert image.size == (96, 72) and image.getexif().get(0x0112, 1) == 1


# --- folders to write
# ---------------------------------------------------------------------------------------------------------------  # noqa: E501


@pytest.mark.parametrize(
    "command",
    [
        ["generate", "synthetic"],
        ["audit", "DATA"],
        ["evaluate", "model", "--data", "DATA"],
        ["export", "DATA", "--to", "vlmeval"],
        ["gallery", "DATA"],
    ],
)
@pytest.mark.parametrize("place", ["file", "file/below", "link"])
def test_a_file_where_a_folder_is_wanted_is_said_before_the_work(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str], place: str
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    start = time.perf_counter()
    with pytest.raises(SystemExit) as left:
        main(
            [str(made) if word == "DATA" else word for word in command]
            + ["--out", str(tmp_path / place)]
        )
    said = capsys.readouterr().err
    assert (
        left.value.code == 2
        and said.count("\n") == 1
        and f"--out {tmp_path / place}" in said
        and time.perf_counter() - start < 10
    )
    assert (tmp_path / "file").read_text() == "mine"


def test_folders_that_can_be_made(tmp_path: Path) -> None:
    for good in (tmp_path, tmp_path / "a", tmp_path / "a/b/c"):
        check_folder(good)
    with pytest.raises(ValueError, match="--cache"):
        (tmp_path / "f").write_text("")
        check_folder(tmp_path / "f", "--cache")


def test_a_second_one_waits_for_the_folder_with_a_word(tmp_path: Path) -> None:
    order = list[str]()
    said = list[str]()
    inside = threading.Event()

    def first() -> None:
        with alone(tmp_path / "out"):
            inside.set()
            time.sleep(0.5)
            order.append("first done")

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait(5)
    with alone(tmp_path / "out", said.append):
        order.append("second in")
    thread.join()
    assert order == ["first done", "second in"] and said == [
        f"{tmp_path / 'out'}: another process works on it; waiting until it is done"
    ]
    assert list((tmp_path / "out").iterdir()) == []


def test_two_generate_into_one_folder(tmp_path: Path) -> None:
    code = (
        "import sys; from spar_kit.cli.main import main; sys.exit(main(['generate', 'synthetic',"
        " '--scenes', '2', '--tasks', 'depth_prediction_oc', '--per-task', '3',"
        " '--frames-per-scene', '6', '--width', '160', '--out', sys.argv[1]]))"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "out")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    told = [run.communicate(timeout=280) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], told
    assert (
        sum("nothing to do" in out for out, _ in told) == 1
        and not (tmp_path / "out/.lock").exists()
    )
    assert verify(tmp_path / "out").ok
