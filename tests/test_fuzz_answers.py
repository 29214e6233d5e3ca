"""Random damage to every kind of file that the readers of answers and benchmarks open: rows, or the
kit's own error that names the file; nothing else, and soon."""

import io
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from spar_kit.bench.baselines.audit import read_asked
from spar_kit.bench.benchmarks import Benchmark, BenchmarkError, open_benchmark
from spar_kit.bench.interop.lmms_eval import read_logs
from spar_kit.bench.interop.prediction_files import read_prediction_file, read_predictions
from spar_kit.bench.rows import RowError
from spar_kit.bench.scorers.comparison import item_lines, score_flavours
from spar_kit.bench.scorers.table import name_unscored, report, score_rows
from spar_kit.core.errors import InputError
from spar_kit.data.question import Question
from spar_kit.data.records import RecordError

FUZZ = settings(
    max_examples=80,
    deadline=timedelta(seconds=5),
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
WORDS = [
    b"NaN",
    b"null",
    b"1e999",
    b"-0",
    b"[",
    b"}",
    b'"',
    b"\t",
    b";",
    b"\n",
    b"\r",
    b"\0",
    b"\\ud83d",
    b"[" * 2000,
    b"9" * 30,
    b"9" * 5000,
    b'["fill"]',
    b"\xff",
    b"true",
    b"=1+1",
    b"_x000D_",
    b"</row>",
    b"<row>",
    b"\xed\xa0\x80",
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
OWN = (RowError, BenchmarkError, RecordError)


def damaged(whole: bytes, edits: list, cut: float | None) -> bytes:
    """At each place, given as a share of the length, so many bytes are replaced by others; then the
    end is cut off."""
    data = bytearray(whole)
    for share, gone, new in edits:
        at = int(share * len(data))
        data[at : at + gone] = new
    return bytes(data if cut is None else data[: int(cut * len(data))])


def survives(path: Path, read: Callable[[Path], object], own: tuple = OWN) -> object:
    try:
        return read(path)
    except own as error:
        assert (
            path.name in str(error)
            and "\n" not in str(error)
            and len(str(error)) < len(str(path)) + 400
        )
        return None


TASKS = (
    ("depth_prediction_oc", "fill", "1.5"),
    ("obj_spatial_relation_oo", "judge", "False"),
    ("obj_spatial_relation_oc_mv", "select", "(B)"),
    ("view_change_infer", "fill", "move_right:0.5"),
)
ROWS = [
    {
        "id": str(k),
        "task": task,
        "format": form,
        "answer": answer,
        "prediction": f"it is {answer}",
        "question": "Which?\nA. left\nB. right",
        "source": "scannet",
        "scene": "s",
        "failed": None,
    }
    for k, (task, form, answer) in enumerate(TASKS)
]
LMMS = [
    {
        "doc_id": k,
        "target": row["answer"],
        "filtered_resps": [row["prediction"]],
        "sparbench_score": {**row, "MRA:.5:.95:.05": 0},
    }
    for k, row in enumerate(ROWS)
]
BENCH = Benchmark(
    name="toy",
    items=tuple(
        Question(
            id=str(k),
            task=task,
            format=form,
            scene="",
            text="q",
            answer=answer,
            images=(Path("0.jpg"),),
        )
        for k, (task, form, answer) in enumerate(TASKS)
    ),
    official=True,
)


def as_lines(rows: list) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


def sheet(kind: str) -> bytes:
    out = io.BytesIO()
    frame = pd.DataFrame(ROWS).drop(columns=["failed"])
    (
        frame.to_excel(out, index=False)
        if kind == "xlsx"
        else frame.to_csv(out, index=False, sep={"tsv": "\t", "csv": ",", "semicolons": ";"}[kind])
    )
    return out.getvalue()


FILES = {
    "lines": as_lines(ROWS),
    "array": json.dumps(ROWS).encode(),
    "lmms": as_lines(LMMS),
    "utf16": as_lines(ROWS).decode().encode("utf-16"),
    **{kind: sheet(kind) for kind in ("tsv", "csv", "semicolons", "xlsx")},
}


def score_whole(rows: list) -> None:
    """All that `spar score` does with rows, to the last byte that it writes."""
    tables = score_flavours(rows)
    orjson.dumps([report(table, flavour) for flavour, table in tables.items()])
    item_lines(tables).encode()
    "".join(name_unscored(tables["strict"])).encode()


@pytest.mark.parametrize("kind", FILES)
@FUZZ
@given(edits=EDITS, cut=CUT)
def test_files_of_answers(tmp_path, kind, edits, cut):
    path = tmp_path / "fuzz.any"
    path.write_bytes(damaged(FILES[kind], edits, cut))
    found = survives(path, read_prediction_file)
    if found is not None and not edits and cut is None:
        assert len(found.rows) == len(ROWS)
    survives(path, lambda path: read_prediction_file(path, BENCH))
    rows = survives(path, read_predictions)
    if rows:
        score_rows(rows)


VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**80), 2**80),
        st.floats(),
        st.text(max_size=6),
        st.sampled_from(["\ud83d", "=1", "N/A", "", "B", "depth_prediction_oc", "fill"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)


@settings(FUZZ, max_examples=30)
@given(
    name=st.sampled_from(
        [*ROWS[0], "doc_id", "filtered_resps", "sparbench_score", "target", "doc"]
    ),
    value=VALUES,
    place=st.integers(0, 3),
    kind=st.sampled_from(["rows", "lmms", "index"]),
)
def test_fields_of_any_type(tmp_path, name, value, place, kind):
    rows = [dict(row) for row in (LMMS if kind == "lmms" else ROWS)]
    if kind == "index":
        rows = [
            {"index": row["id"], **{key: cell for key, cell in row.items() if key != "id"}}
            for row in rows
        ]
    rows[place][name] = value
    path = tmp_path / "fuzz.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    found = survives(path, read_prediction_file)
    if found is not None:
        score_whole(found.rows)
        str(found).encode()
    survives(path, lambda path: read_prediction_file(path, BENCH))
    rows = survives(path, read_predictions)
    if rows:
        score_whole(rows)


def picture() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 6), (9, 90, 200)).save(out, "PNG")
    return out.getvalue()


def parquet() -> bytes:
    out = io.BytesIO()
    picture_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema(
        [
            ("id", pa.int64()),
            *(
                (name, pa.string())
                for name in ("format_type", "task", "source", "question", "answer")
            ),
            ("image", pa.list_(picture_type)),
        ]
    )
    rows = [
        dict(
            id=k,
            format_type=form,
            task=task,
            source="scannet",
            question="q",
            answer=answer,
            image=[{"bytes": picture(), "path": "a.png"}],
        )
        for k, (task, form, answer) in enumerate(TASKS)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema), out)
    return out.getvalue()


PARQUET = parquet()


@FUZZ
@given(edits=EDITS, cut=CUT)
def test_parquet(tmp_path, edits, cut):
    path = tmp_path / "fuzz.parquet"
    path.write_bytes(damaged(PARQUET, edits, cut))

    def read(path):
        benchmark = open_benchmark(f"parquet:{path}")
        for item in benchmark.items:
            survives(path, lambda _, item=item: item.load())
        return benchmark

    try:
        survives(path, read)
    except InputError as error:  # nothing is left to ask
        assert path.name in str(error) and "\n" not in str(error)


RECORD = {
    "id": "s_0",
    "type": "depth_prediction_oc",
    "image": ["s/image_color/0.jpg"],
    "red_point": [[10, 20]],
    "point_img_idx": [[0]],
    "facts": {"answer": 1.5},
    "conversations": [{"from": "human", "value": "How deep?"}, {"from": "gpt", "value": "1.5"}],
}


@FUZZ
@given(
    name=st.sampled_from([*RECORD, "red_bbox", "bbox_img_idx", "depth", "pose", "intrinsic"]),
    value=VALUES,
)
def test_records_of_a_generated_folder(tmp_path, name, value):
    images = tmp_path / "spar/made/images/s/image_color"
    images.mkdir(parents=True, exist_ok=True)
    (images / "0.jpg").write_bytes(picture())
    path = tmp_path / "spar/made/qa_jsonl/val/depth_prediction_oc/fill/fuzz.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(RECORD) + "\n" + json.dumps({**RECORD, "id": "s_1", name: value}))
    survives(path, lambda path: read_asked(path, 10))
    for item in open_benchmark(tmp_path).items:
        try:
            item.load()
        except (ValueError, OSError) as error:
            assert "\n" not in str(error) and str(tmp_path) in str(error)


@FUZZ
@given(edits=EDITS, cut=CUT, kind=st.sampled_from(["samples", "results"]))
def test_logs_of_lmms_eval(tmp_path, edits, cut, kind):
    files = {
        "samples": (tmp_path / "20260101_000000_samples_spar.jsonl", FILES["lmms"]),
        "results": (
            tmp_path / "20260101_000000_results.json",
            json.dumps({"results": {"spar": {"a,none": 0.5, "b,none": float("nan")}}}).encode(),
        ),
    }
    for name, (path, data) in files.items():
        path.write_bytes(damaged(data, edits, cut) if name == kind else data)
    survives(files[kind][0], lambda _: read_logs(tmp_path), (ValueError,))
