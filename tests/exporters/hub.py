"""SPAR-Bench's files from generated questions: Parquet with image columns in the hub's schema, as
`datasets` writes them.

Written from the dataset card and from what `datasets` does with an Image feature:
encoded bytes and a file name in a struct, the features as JSON in the schema's metadata, a hundred
rows of images to a row group. It reads the folder with json and PIL alone and shares nothing with
the kit's reader but the drawing of markers.
"""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from spar_kit.tasks.markers import draw_markers

FILL = """depth_prediction_oc depth_prediction_oo distance_prediction_oc distance_prediction_oo view_change_infer depth_prediction_oc_mv depth_prediction_oo_mv
    distance_prediction_oo_mv distance_prediction_oc_mv""".split()  # noqa: E501
SELECT = """distance_infer_center_oo obj_spatial_relation_oo spatial_imagination_oc spatial_imagination_oo position_matching camera_motion_infer
    distance_infer_center_oo_mv obj_spatial_relation_oc_mv obj_spatial_relation_oo_mv spatial_imagination_oc_mv spatial_imagination_oo_mv""".split()  # noqa: E501

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
COLUMNS = [
    ("id", pa.int64()),
    ("img_type", pa.string()),
    ("format_type", pa.string()),
    ("task", pa.string()),
    ("source", pa.string()),
    ("image", pa.list_(IMAGE)),
    ("question", pa.string()),
    ("answer", pa.string()),
]
MATRIX = pa.list_(pa.list_(pa.float64()))
RGBD = [
    ("depth", pa.list_(IMAGE)),
    ("pose", MATRIX),
    ("intrinsic_color", MATRIX),
    ("intrinsic_depth", MATRIX),
]


def schema(rgbd: bool) -> pa.Schema:
    def value(kind: pa.DataType) -> dict:
        if kind == pa.list_(IMAGE):
            return {"feature": {"_type": "Image"}, "_type": "Sequence"}
        if kind == MATRIX:
            return {
                "feature": {"feature": {"dtype": "float64", "_type": "Value"}, "_type": "Sequence"},
                "_type": "Sequence",
            }
        return {"dtype": str(kind), "_type": "Value"}

    columns = COLUMNS + (RGBD if rgbd else [])
    features = {"info": {"features": {name: value(kind) for name, kind in columns}}}
    return pa.schema(columns, metadata={"huggingface": json.dumps(features)})


def encoded(image: Image.Image, name: str) -> dict:
    file = io.BytesIO()
    image.save(file, "JPEG" if name.endswith("jpg") else "PNG")
    return {"bytes": file.getvalue(), "path": name}


def matrices(root: Path, paths: list[str]) -> list[list[float]]:
    return [np.loadtxt(root / path).ravel().tolist() for path in paths]


def rows_of(folder: Path, each: int, rgbd: bool) -> list[dict]:
    """At most `each` rows of the 20 tasks, ids counting from 0."""
    rows: list[dict] = []
    for task, form in [(task, "fill") for task in FILL] + [(task, "select") for task in SELECT]:
        for path in sorted(folder.glob(f"spar/*/qa_jsonl/*/{task}/{form}/*.jsonl")):
            root = path.parents[4] / "images"
            for line in path.read_text().splitlines()[:each]:
                record = json.loads(line)
                images = draw_markers(
                    record, [Image.open(root / name).convert("RGB") for name in record["image"]]
                )
                row = {
                    "id": len(rows),
                    "img_type": "single_view" if len(images) == 1 else "multi_view",
                    "format_type": form,
                    "task": task,
                    "source": root.parent.name,
                    "question": record["conversations"][0]["value"],
                    "answer": record["conversations"][1]["value"],
                    "image": [encoded(image, f"{k}.png") for k, image in enumerate(images)],
                }
                if rgbd:
                    row["depth"] = [
                        encoded(Image.open(root / name), f"{k}.png")
                        for k, name in enumerate(record["depth"])
                    ]
                    row["pose"] = matrices(root, record["pose"])
                    row["intrinsic_color"] = matrices(root, record["intrinsic"])
                    row["intrinsic_depth"] = matrices(
                        root, [name.replace("_color", "_depth") for name in record["intrinsic"]]
                    )
                rows.append(row)
    return rows


def write(
    rows: list[dict], out: Path, *, rgbd: bool = False, files: int = 2, group: int = 7
) -> Path:
    """DATA/data/test-0000k-of-0000n.parquet, `group` rows to a row group (the hub has 100)."""
    (out / "data").mkdir(parents=True, exist_ok=True)
    share = -(-len(rows) // files)
    for k in range(files):
        table = pa.Table.from_pylist(rows[k * share : (k + 1) * share], schema=schema(rgbd))
        pq.write_table(
            table, out / "data" / f"test-{k:05d}-of-{files:05d}.parquet", row_group_size=group
        )
    return out
