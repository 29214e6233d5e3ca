"""Benchmarks in: SPAR-Bench's Parquet, the hub, generated sets; what is wrong with a row; the
official prompt; blind views; the file of answers; text-only runs."""

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exporters import hub
from PIL import Image, ImageChops
from toys import Toys, busy_room

from spar_kit.bench import prompts as it
from spar_kit.bench.baselines.audit import audit
from spar_kit.bench.baselines.blind import blind_gap, blind_predictions, folds_of
from spar_kit.bench.benchmarks import (
    Benchmark,
    BenchmarkError,
    missing_shards,
    open_benchmark,
    parquet_files,
    read_parquet,
)
from spar_kit.bench.predictions import (
    Prediction,
    PredictionWriter,
    read_partial_predictions,
    settings_hash,
)
from spar_kit.bench.scorers.table import score_file
from spar_kit.cli.main import main
from spar_kit.data.generate import generate
from spar_kit.data.question import Question
from spar_kit.report.audit_report import as_json

TWENTY = hub.FILL + hub.SELECT


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    generate(
        Toys(make=partial(busy_room, frames=72)),
        folder,
        split="val",
        tasks=",".join(TWENTY),
        per_task=8,
        width=160,
        progress=False,
    )
    return folder


@pytest.fixture(scope="module")
def rows(toy: Path) -> list[dict]:
    return hub.rows_of(toy, each=2, rgbd=True)


@pytest.fixture(scope="module")
def bench(rows: list[dict], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SPAR-Bench's schema: two files, groups of seven rows, markers baked in."""
    plain = [
        {name: value for name, value in row.items() if name not in dict(hub.RGBD)} for row in rows
    ]
    return hub.write(plain, tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def rgbd(rows: list[dict], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hub.write(rows, tmp_path_factory.mktemp("rgbd"), rgbd=True)


# ---- what is in it


def test_every_row_of_the_hubs_schema_is_read(bench: Path, rows: list[dict]) -> None:
    benchmark = open_benchmark(f"parquet:{bench}", strict=True)
    assert len(rows) >= 38 and {row["task"] for row in rows} == set(TWENTY)
    assert benchmark.official and not benchmark.problems and benchmark.skipped == 0
    read = [
        (i.id, i.task, i.format, i.source, i.scene, i.text, i.answer, len(i.images))
        for i in benchmark.items
    ]
    assert read == [
        (
            str(r["id"]),
            r["task"],
            r["format_type"],
            r["source"],
            "",
            r["question"],
            r["answer"],
            len(r["image"]),
        )
        for r in rows
    ]
    table = benchmark.describe()
    assert (
        table["items"].sum() == len(rows)
        and set(table.images) == {"1", "2", "3"}
        and table.scenes.sum() == 0
        and table.rgbd.sum() == 0
    )


def test_the_same_question_shows_the_same_pixels_from_the_folder_and_from_parquet(
    toy: Path, bench: Path
) -> None:
    own = {(i.task, i.format, i.text): i for i in open_benchmark(toy).items}
    marked = 0
    for item in open_benchmark(str(bench)).items:
        twin = own[item.task, item.format, item.text]
        images = item.load()
        assert twin.answer == item.answer and len(images) == len(item.images) == len(twin.images)
        for a, b, path in zip(images, twin.load(), twin.paths):
            assert a.mode == b.mode == "RGB" and np.array_equal(np.asarray(a), np.asarray(b))
            with Image.open(path) as bare:
                marked += (
                    ImageChops.difference(a, bare.convert("RGB"))
                    .point(lambda v: 255 * (v > 60))
                    .getbbox()
                    is not None
                )
    # the markers are in the pixels
    assert marked > 30


def test_depth_poses_and_cameras_of_the_rgbd_form_are_those_of_the_folder(
    toy: Path, rgbd: Path
) -> None:
    own = {(i.task, i.format, i.text): i for i in open_benchmark(toy).items}
    items = open_benchmark(f"parquet:{rgbd}", strict=True).items
    for item in items[::5]:
        a = item.geometry()
        b = own[item.task, item.format, item.text].geometry()
        assert (
            len(a.depth) == len(item.images)
            and a.depth[0].dtype == np.uint16
            and 500 < np.median(a.depth[0]) < 8000
        )
        assert all(np.array_equal(x, y) for x, y in zip(a.depth, b.depth))
        for name in ("pose", "color", "depth_camera"):
            assert getattr(a, name).shape == (len(item.images), 4, 4) and np.allclose(
                getattr(a, name), getattr(b, name)
            )
        assert np.allclose(
            a.pose[:, :3, :3] @ a.pose[:, :3, :3].transpose(0, 2, 1), np.eye(3), atol=1e-5
        )


def test_opening_reads_no_image_and_asking_reads_one_group(
    bench: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple] = []
    real = pq.ParquetFile.read_row_group

    def counting(self: pq.ParquetFile, group: int, columns: list[str]) -> pa.Table:
        read.append((group, tuple(columns)))
        return real(self, group, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counting)
    benchmark = open_benchmark(f"parquet:{bench}")
    assert read == []
    for item in benchmark.items[7:14]:
        item.load()
    assert read == [(1, ("image",))]


def test_a_cache_too_small_for_two_groups_still_serves_threads(bench: Path) -> None:
    from spar_kit.bench import benchmarks

    groups = benchmarks._Groups(keep=1)
    items = [i for file in parquet_files(bench) for i in read_parquet(file, groups=groups)] * 3
    with ThreadPoolExecutor(4) as pool:
        sizes = list(pool.map(lambda item: len(item.load()), items))
    assert sizes == [len(item.images) for item in items] and len(groups._kept) == 1


def test_tasks_formats_and_limits_choose(bench: Path, toy: Path) -> None:
    assert {
        i.task
        for i in open_benchmark(
            f"parquet:{bench}", tasks="position_matching,depth_prediction_oc"
        ).items
    } == {"position_matching", "depth_prediction_oc"}
    assert {i.format for i in open_benchmark(f"parquet:{bench}", formats="select").items} == {
        "select"
    }
    assert len(open_benchmark(f"parquet:{bench}").select_items(limit=1)) == 20
    assert {i.format for i in open_benchmark(toy).items} == {"fill", "select", "judge"}
    with pytest.raises(ValueError, match="no test questions of tasks room_size"):
        open_benchmark(f"parquet:{bench}", tasks="room_size")
    with pytest.raises(ValueError, match="no train questions"):
        open_benchmark(toy, split="train")


# ---- what is wrong with it


def made(**fields: object) -> dict:
    row = dict(
        id=0,
        img_type="single_view",
        format_type="fill",
        task="depth_prediction_oc",
        source="scannet",
        question="How deep?",
        answer="1.5",
        image=[hub.encoded(Image.new("RGB", (32, 24), (90, 120, 200)), "0.jpg")],
    )
    return row | fields


def write(path: Path, rows: list[dict]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows, schema=hub.schema(False)), path)
    return path


BAD = [
    (dict(task="depth_predicton_oc"), "task", "unknown task 'depth_predicton_oc'"),
    (dict(task=None), "task", "is empty"),
    (dict(answer=" "), "answer", "is empty"),
    (dict(question=None), "question", "is empty"),
    (dict(format_type="essay"), "format_type", "'essay' is none of"),
    (dict(format_type="judge"), "format_type", "is none of"),
    (dict(id=None), "id", "is null"),
    (dict(image=[]), "image", "there is no image"),
    (dict(image=None), "image", "there is no image"),
]


@pytest.mark.parametrize("fields, field, message", BAD)
def test_a_bad_row_is_named_and_left_out(
    tmp_path: Path, fields: dict, field: str, message: str
) -> None:
    path = write(tmp_path / "test-0.parquet", [made(id=0), made(id=1) | fields, made(id=2)])
    benchmark = open_benchmark(f"parquet:{path}")
    assert [i.id for i in benchmark.items] == ["0", "2"] and benchmark.skipped == 1
    assert (
        len(benchmark.problems) == 1
        and f"{path}: row 1: {field}: " in benchmark.problems[0]
        and message in benchmark.problems[0]
    )
    with pytest.raises(BenchmarkError) as caught:
        open_benchmark(f"parquet:{path}", strict=True)
    assert (caught.value.row, caught.value.field) == (1, field)


IMAGES = [
    ({"bytes": b"", "path": None}, "holds neither"),
    ({"bytes": b"not an image", "path": "0.jpg"}, "not a readable image"),
    (None, "holds neither"),
    ({"bytes": made()["image"][0]["bytes"][:300], "path": "0.jpg"}, "not a readable image"),
    ({"bytes": None, "path": "../../etc/passwd"}, "leaves"),
]


@pytest.mark.parametrize("cell, message", IMAGES)
def test_a_broken_image_is_named_when_it_is_asked_for(
    tmp_path: Path, cell: dict | None, message: str
) -> None:
    path = write(
        tmp_path / "test-0.parquet", [made(id=0), made(id=1, image=[made()["image"][0], cell])]
    )
    good, bad = open_benchmark(f"parquet:{path}", strict=True).items
    assert good.load()[0].size == (32, 24)
    with pytest.raises(BenchmarkError, match=message) as caught:
        bad.load()
    assert (caught.value.row, caught.value.field) == (1, "image[1]") and str(path) in str(
        caught.value
    )


def test_images_beside_the_file_are_found(tmp_path: Path) -> None:
    Image.new("RGB", (50, 40)).save(tmp_path / "beside.png")
    path = write(tmp_path / "test-0.parquet", [made(image=[{"bytes": None, "path": "beside.png"}])])
    assert open_benchmark(f"parquet:{path}").items[0].load()[0].size == (50, 40)


@pytest.mark.parametrize(
    "column, change, message",
    [
        ("answer", lambda t: t.drop_columns(["answer"]), "answer: the column is missing"),
        ("image", lambda t: t.drop_columns(["image"]), "image: the column is missing"),
        (
            "answer",
            lambda t: t.set_column(
                t.schema.get_field_index("answer"), "answer", pa.array([1.5] * len(t))
            ),
            "answer: expected text, found double",
        ),
        (
            "id",
            lambda t: t.set_column(0, "id", pa.array([0.5] * len(t))),
            "id: expected whole numbers or text",
        ),
        (
            "image",
            lambda t: t.set_column(
                t.schema.get_field_index("image"), "image", pa.array(["a.jpg"] * len(t))
            ),
            "image: expected images",
        ),
    ],
)
def test_a_file_with_a_wrong_column_is_left_out_whole(
    tmp_path: Path, column: str, change, message: str
) -> None:
    write(tmp_path / "test-00000.parquet", [made(id=k) for k in range(3)])
    pq.write_table(
        change(pq.read_table(write(tmp_path / "x", [made(id=k) for k in range(5, 9)]))),
        tmp_path / "test-00001.parquet",
    )
    benchmark = open_benchmark(f"parquet:{tmp_path}")
    assert (
        len(benchmark.items) == 3
        and benchmark.skipped == 4
        and "test-00001.parquet" in benchmark.problems[0]
        and message in benchmark.problems[0]
    )
    with pytest.raises(BenchmarkError) as caught:
        open_benchmark(f"parquet:{tmp_path}", strict=True)
    assert caught.value.field == column


def test_a_file_that_is_no_parquet_and_an_id_that_is_there_twice(tmp_path: Path) -> None:
    write(tmp_path / "test-00000.parquet", [made(id=0), made(id=0, answer="9"), made(id=1)])
    (tmp_path / "test-00001.parquet").write_bytes(b"PAR1 cut off")
    benchmark = open_benchmark(f"parquet:{tmp_path}")
    assert [(i.id, i.answer) for i in benchmark.items] == [
        ("0", "1.5"),
        ("1", "1.5"),
    ] and benchmark.skipped == 1
    assert (
        "there twice" in benchmark.problems[0]
        and "not a readable Parquet file" in benchmark.problems[1]
    )


def test_texts_as_large_strings_dictionaries_and_numbered_text_ids(tmp_path: Path) -> None:
    table = pq.read_table(write(tmp_path / "x", [made(id=k) for k in range(2)]))
    for name, kind in (
        ("task", pa.dictionary(pa.int32(), pa.string())),
        ("question", pa.large_string()),
        ("id", pa.string()),
    ):
        at = table.schema.get_field_index(name)
        if name == "task":
            column = table.column(name).dictionary_encode()
        else:
            column = table.column(name).cast(kind)
        table = table.set_column(at, name, column)
    pq.write_table(
        table.append_column("scene", pa.array(["scene0011_00", None])), tmp_path / "a.parquet"
    )
    items = open_benchmark(tmp_path / "a.parquet", strict=True).items
    assert [(i.id, i.task, i.scene) for i in items] == [
        ("0", "depth_prediction_oc", "scene0011_00"),
        ("1", "depth_prediction_oc", ""),
    ]


def changed(table: pa.Table, name: str, column: pa.Array | pa.ChunkedArray) -> pa.Table:
    at = table.schema.get_field_index(name)
    return table.append_column(name, column) if at < 0 else table.set_column(at, name, column)


def images_as(kind: str, table: pa.Table) -> pa.Array:
    cells = table.column("image").to_pylist()
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    if kind == "binary_view":
        return pa.array(
            [[part["bytes"] for part in cell] for cell in cells], pa.list_(pa.binary_view())
        )
    if kind == "paths":
        return pa.array(
            [[{"path": "beside.png"}] for _ in cells], pa.list_(pa.struct([("path", pa.string())]))
        )
    return pa.array(
        cells, {"fixed_size_list": pa.list_(picture, 1), "large_list": pa.large_list(picture)}[kind]
    )


@pytest.mark.parametrize(
    "change",
    [
        *(
            lambda t, kind=kind: changed(t, "image", images_as(kind, t))
            for kind in ("fixed_size_list", "large_list", "binary_view", "paths")
        ),
        *(
            lambda t, name=name: changed(t, name, pa.nulls(len(t)))
            for name in ("source", "scene", "img_type")
        ),
        *(
            lambda t, name=name: changed(t, name, t.column(name).cast(pa.string_view()))
            for name in ("question", "answer", "task", "format_type")
        ),
        lambda t: changed(t, "id", t.column("id").cast(pa.string()).cast(pa.string_view())),
        lambda t: changed(t, "id", t.column("id").dictionary_encode()),
    ],
)
def test_every_way_of_writing_texts_and_lists_is_read(tmp_path: Path, change) -> None:
    Image.new("RGB", (32, 24)).save(tmp_path / "beside.png")
    pq.write_table(
        change(pq.read_table(write(tmp_path / "x", [made(id=k) for k in range(3)]))),
        tmp_path / "a.parquet",
    )
    items = open_benchmark(tmp_path / "a.parquet", strict=True).items
    assert [
        (i.id, i.answer, i.source in ("scannet", ""), len(i.images), i.load()[0].size)
        for i in items
    ] == [(str(k), "1.5", True, 1, (32, 24)) for k in range(3)]


def test_a_needed_column_without_any_value_is_said_row_by_row(tmp_path: Path) -> None:
    pq.write_table(
        changed(
            pq.read_table(write(tmp_path / "x", [made(id=k) for k in range(3)])),
            "answer",
            pa.nulls(3),
        ),
        tmp_path / "a.parquet",
    )
    with pytest.raises(ValueError, match=r"a.parquet: row 0: answer: is empty"):
        open_benchmark(tmp_path / "a.parquet")


POINTER = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 146946961\n"
)


@pytest.mark.parametrize(
    "second, says",
    [
        (None, "test-00001-of-00002.parquet: the file is missing"),
        (POINTER, "git lfs pull"),
        (b"", "not a readable Parquet file"),
        (b"PAR1" + b"x" * 90, "not a readable Parquet file"),
        ("cut", "not a readable Parquet file"),
    ],
)
def test_a_shard_that_is_missing_or_not_readable_is_said_wherever_the_benchmark_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture, second: bytes | str | None, says: str
) -> None:
    rows = [made(id=k, answer=f"{1 + k % 7 / 10:.1f}") for k in range(30)]
    first = write(tmp_path / "test-00000-of-00002.parquet", rows)
    if second is not None:
        (tmp_path / "test-00001-of-00002.parquet").write_bytes(
            first.read_bytes()[:900] if second == "cut" else second
        )
    benchmark = open_benchmark(f"parquet:{tmp_path}")
    assert (
        len(benchmark.items) == 30
        and benchmark.files_left_out == 1
        and says in benchmark.problems[0]
        and "1 file missing or not readable" in str(benchmark)
    )
    with pytest.raises(BenchmarkError, match="test-00001-of-00002"):
        open_benchmark(f"parquet:{tmp_path}", strict=True)
    result = audit(f"parquet:{tmp_path}", trees=5)
    assert (
        result.problems == benchmark.problems
        and says in result.conclusion()
        and json.loads(as_json(result))["problems"] == list(result.problems)
    )
    with pytest.raises(SystemExit):
        main(["audit", f"parquet:{tmp_path}"])
    assert says in capsys.readouterr().err


def test_shards_that_are_all_there_say_nothing(tmp_path: Path) -> None:
    for k in range(3):
        write(tmp_path / f"test-{k:05}-of-00003.parquet", [made(id=k)])
    write(tmp_path / "train-00001-of-00002.parquet", [made(id=9)])
    assert not open_benchmark(f"parquet:{tmp_path}").problems and missing_shards(
        [tmp_path / "test-00002-of-00003.parquet"]
    ) == ["test-00000-of-00003.parquet", "test-00001-of-00003.parquet"]


NESTED = [
    ("depth_prediction_oc", ["depth_prediction_oc"], "read all the same"),
    (
        "depth_prediction_oc",
        ["depth_prediction_oc", "obj_spatial_relation_oo"],
        "left out, its task has files elsewhere",
    ),
    ("obj_spatial_relation_oo", ["obj_spatial_relation_oo"], "read all the same"),
    ("odd", ["depth_prediction_oc"], "read all the same"),
]


@pytest.mark.parametrize("outer, inner, says", NESTED)
def test_a_task_folder_within_another_is_read_once(
    toy: Path, tmp_path: Path, outer: str, inner: list[str], says: str
) -> None:
    before = open_benchmark(toy)
    shutil.copytree(toy, tmp_path / "d")
    (tmp_path / "d/manifest.json").unlink()
    split = next((tmp_path / "d").glob("spar/*/qa_jsonl/val"))
    for name in inner:
        shutil.copytree(split / name, tmp_path / "aside" / name)
    if outer in inner or outer == "odd":
        shutil.rmtree(split / inner[0])
    (split / outer).mkdir(exist_ok=True)
    for name in inner:
        shutil.copytree(tmp_path / "aside" / name, split / outer / name)
    found = open_benchmark(tmp_path / "d")
    assert {item.key for item in found.items} == {item.key for item in before.items} and len(
        found.items
    ) == len(before.items)
    assert (
        len(found.problems) == len(inner)
        and found.skipped == 0
        and any(says in line for line in found.problems)
    )
    result = audit(tmp_path / "d", tasks=["depth_prediction_oc"], trees=5)
    kinds = {f"{finding.task}/{finding.format}" for finding in result.findings} | set(
        result.left_out
    )
    assert "depth_prediction_oc/fill" in kinds and result.problems == found.problems


# ---- the hub


class FakeHub(http.server.BaseHTTPRequestHandler):
    """The requests of the hub that a snapshot needs: the commit of a revision, its files, a
    file."""

    sha = "0123456789abcdef0123456789abcdef01234567"
    files = {}
    asked = []

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET(body=False)

    def do_GET(self, body: bool = True) -> None:
        self.asked.append(self.path)
        name = self.path.split(f"/resolve/{self.sha}/")[-1]
        api = "/api/datasets/jasonzhango/SPAR-Bench-Tiny"
        if self.path.split("?")[0] in (f"{api}/revision/main", f"{api}/revision/{self.sha}"):
            data = orjson.dumps(
                {
                    "id": "jasonzhango/SPAR-Bench-Tiny",
                    "sha": self.sha,
                    "private": False,
                    "tags": [],
                    "downloads": 0,
                    "likes": 0,
                    "siblings": [{"rfilename": name} for name in self.files],
                }
            )
        elif self.path.split("?")[0] == f"{api}/tree/{self.sha}":
            data = orjson.dumps(
                [
                    {"type": "file", "path": name, "size": len(data), "oid": f"{len(name):040x}"}
                    for name, data in self.files.items()
                ]
            )
        elif name in self.files:
            data = self.files[name]
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RevisionNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Repo-Commit", self.sha)
        self.send_header("ETag", f'"{abs(hash(name)):x}"')
        self.end_headers()
        if body:
            self.wfile.write(data)


HUB_SCRIPT = """
from spar_kit.bench.benchmarks import open_benchmark
import json
b = open_benchmark("spar-bench-tiny")
c = open_benchmark("spar-bench-tiny@0123456789abcdef0123456789abcdef01234567")
try:
    open_benchmark("spar-bench-tiny@v9")
except ValueError as error:
    said = str(error)
print(json.dumps([b.name, b.revision, len(b.items), len(b.items[0].load()), list(b.problems), c.revision, said]))
"""  # noqa: E501


def test_the_test_split_comes_from_the_hub_and_nothing_else(bench: Path, tmp_path: Path) -> None:
    FakeHub.files = {f"data/{path.name}": path.read_bytes() for path in parquet_files(bench)} | {
        "README.md": b"card",
        "data/train-0.parquet": b"",
        "other.zip": b"",
    }
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {
        **os.environ,
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path),
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_OFFLINE": "0",
    }
    done = subprocess.run(
        [sys.executable, "-c", HUB_SCRIPT],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    server.shutdown()
    assert done.returncode == 0, done.stderr
    name, revision, count, images, problems, pinned, said = json.loads(done.stdout.splitlines()[-1])
    assert (name, revision, images, pinned) == (
        "SPAR-Bench-Tiny",
        FakeHub.sha,
        1,
        FakeHub.sha,
    ) and count >= 38
    assert len(problems) == 1 and "1,000 rows expected" in problems[0]
    assert (
        "SPAR-Bench-Tiny@v9: cannot be fetched" in said
        and "Revision Not Found" in said
        and "parquet:FOLDER" in said
        and "\n" not in said
    )
    assert not any("README" in path or "zip" in path or "train" in path for path in FakeHub.asked)


# ---- prompts and views


def test_the_official_prompt_of_all_twenty_tasks(bench: Path) -> None:
    """Expected texts put together here from the protocol, not from the function."""
    for item in open_benchmark(f"parquet:{bench}").items:
        lines = ["", item.text]
        if item.task in hub.SELECT:
            boxes = item.task in ("position_matching", "camera_motion_infer")
            lines += [
                (
                    "The values represent the bounding box coordinates normalized to a 0-1000"
                    " scale, with the top-left corner as the origin of the image."
                    if boxes
                    else ""
                ),
                "Answer with the option's letter from the given choices directly.",
            ]
        else:
            lines += (
                ["", ""]
                if item.task == "view_change_infer"
                else ["Please answer the question using a single word or phrase."]
            )
        assert (
            it.prompt_of(item, "official") == "\n".join(lines)
            and it.prompt_of(item, "plain") == item.text
        )


def test_blind_views(bench: Path, toy: Path) -> None:
    items = open_benchmark(f"parquet:{bench}").select_items()
    for item, none, grey, other in zip(
        items, *(it.apply_image_mode(items, mode) for mode in ("none", "gray", "swapped"))
    ):
        assert (
            none.load() == []
            and len(none.images) == 0
            and (none.text, none.answer, none.key) == (item.text, item.answer, item.key)
        )
        assert [(image.size, image.getcolors()) for image in grey.load()] == [
            (image.size, [(image.width * image.height, it.BLANK_COLOR)]) for image in item.load()
        ]
        assert len(other.load()) == len(item.images) and other.text == item.text
        assert [image.tobytes() for image in other.load()] != [
            image.tobytes() for image in item.load()
        ]
    own = open_benchmark(toy).select_items(images="gray")
    assert not own[0].paths and not own[0].markers


def test_swapped_images_come_from_another_scene_and_do_not_depend_on_a_limit() -> None:
    def item(k: int, scene: str) -> Question:
        return Question(
            id=str(k),
            task="depth_prediction_oc",
            format="fill",
            scene=scene,
            text="",
            answer="",
            images=(lambda: Image.new("RGB", (k + 1, 1)),),
        )

    items = [item(k, "abc"[k % 3]) for k in range(30)]
    whole = it.apply_image_mode(items, "swapped", seed=3)
    few = it.apply_image_mode(items[:4], "swapped", items, seed=3)
    partner = [other.load()[0].width - 1 for other in whole]
    assert all(k % 3 != p % 3 for k, p in enumerate(partner)) and len(set(partner)) > 10
    assert [other.load()[0].width - 1 for other in few] == partner[:4]
    assert partner != [
        other.load()[0].width - 1 for other in it.apply_image_mode(items, "swapped", seed=4)
    ]
    # one scene: another item at least
    same = it.apply_image_mode([item(k, "a") for k in range(5)], "swapped")
    assert all(other.load()[0].width - 1 != k for k, other in enumerate(same))
    with pytest.raises(ValueError, match="no other question"):
        it.apply_image_mode(items[:1], "swapped")


# ---- answers


def test_a_failure_is_asked_again_and_a_success_never(tmp_path: Path) -> None:
    items = [
        Question(
            id=str(k), task="depth_prediction_oc", format="fill", scene="", text="?", answer="1"
        )
        for k in range(40)
    ]
    out = tmp_path / "a.jsonl"
    asked = []
    for _ in range(4):
        with PredictionWriter(out, items, "m") as answers, ThreadPoolExecutor(8) as pool:

            def one(item: Question) -> None:
                asked.append(item.id)
                if asked.count(item.id) <= int(item.id) % 3:
                    answers.fail(item, "429\ntoo many")
                else:
                    answers.add(item, "\ud83d <b>\x00 2.5", seconds=1.0)

            list(pool.map(one, answers.left))
        rows = read_partial_predictions(out)
        assert [row["id"] for row in rows] == [item.id for item in items]
        assert all(
            (
                (row["prediction"] is None and row["failed"] == "429 too many")
                if "failed" in row
                else row["prediction"] == "? <b>\x00 2.5"
            )
            for row in rows
        )
    assert {name: asked.count(name) for name in asked} == {
        item.id: int(item.id) % 3 + 1 for item in items
    }
    with (
        PredictionWriter(out, items, "m") as answers,
        pytest.raises(ValueError, match="has an answer already"),
    ):
        answers.add(items[0], "again")


def test_answers_of_another_model_are_put_aside_not_lost(tmp_path: Path) -> None:
    items = [
        Question(
            id=str(k), task="depth_prediction_oc", format="fill", scene="", text="?", answer="1"
        )
        for k in range(5)
    ]
    out = tmp_path / "a.jsonl"
    with PredictionWriter(out, items, settings_hash("a", 1)) as answers:
        for item in answers.left:
            answers.add(item, item.id)
    # fewer were asked for
    assert (
        len(PredictionWriter(out, items[:2], settings_hash("a", 1)).rows) == 2
        and len(read_partial_predictions(tmp_path / "a.jsonl.previous")) == 5
    )
    assert (
        not PredictionWriter(out, items, settings_hash("a", 2)).rows
        and len(read_partial_predictions(tmp_path / "a.jsonl.previous")) == 2
    )
    with pytest.raises(ValueError, match="there twice"):
        PredictionWriter(out, items + items[:1], "x")


# ---- without looking


def leak(count: int = 240) -> Benchmark:
    """A kind of question whose largest option is right, and a fair one; no scenes."""
    rng = np.random.default_rng(0)
    items = []
    for k in range(count):
        values = rng.permutation(np.sort(rng.uniform(0.5, 4, 4)).round(1) + np.arange(4) * 0.3)
        gold = int(values.argmax()) if k % 2 else int(rng.integers(4))
        question = "How deep?" + "".join(
            f"\n{letter}. {value:.1f}" for letter, value in zip("ABCD", values)
        )
        items.append(
            Question(
                id=str(k),
                task=TWENTY[k % 2],
                format="select",
                source="scannet",
                scene="",
                text=question,
                answer="ABCD"[gold],
            )
        )
    return Benchmark(name="leaky", items=tuple(items), official=True)


def test_text_baselines_of_a_benchmark_without_training_questions(tmp_path: Path) -> None:
    benchmark = leak(160)
    files = blind_predictions(benchmark, tmp_path, folds=2)
    scores = {name: score_file(path) for name, path in files.items()}
    assert all(len(table) == len(benchmark.items) for table in scores.values())
    means = scores["text"].groupby("task").score.mean()
    assert means[TWENTY[1]] > 0.9 and means[TWENTY[0]] < 0.4
    table = blind_gap(scores["text"].assign(score=1.0), scores).set_index("task")
    assert (
        np.isclose(table.gap, 1 - np.maximum(table.text, table.constant)).all()
        and (table.low <= table.gap).all()
    )


def test_folds_keep_scenes_together() -> None:
    scenes = [f"s{k % 7}" for k in range(70)]
    fold = folds_of(scenes, 5)
    assert all(
        len({f for f, s in zip(fold, scenes) if s == name}) == 1 for name in set(scenes)
    ) and set(fold) == set(range(5))
    assert np.bincount(folds_of([""] * 50, 5)).tolist() == [10] * 5


def test_the_audit_attacks_benchmark_rows(bench: Path) -> None:
    found = {finding.task: finding for finding in audit(leak(), trees=10).findings}
    assert (
        found[TWENTY[1]].verdict == "FAIL"
        and found[TWENTY[1]].best.score > 0.9
        and found[TWENTY[1]].with_marks is None
    )
    assert found[TWENTY[0]].verdict != "FAIL" and found[TWENTY[0]].scenes == 120
    assert len(audit(f"parquet:{bench}", tasks=["depth_prediction_oc"], trees=5).findings) == 1


def test_rows_say_where_they_come_from(toy: Path) -> None:
    item = open_benchmark(toy).items[0]
    row = Prediction.of(item, "2", "original", tokens=3)
    assert (
        list(row)
        == [
            "id",
            "task",
            "format",
            "source",
            "scene",
            "question",
            "answer",
            "prediction",
            "image_mode",
            "tokens",
        ]
        and row["scene"] == "room0000_00"
    )
