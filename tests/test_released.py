"""What SPAR's released scripts expect of a data folder, in our words, asked of what we write.

Seen (a public copy of the repository, 04f6b55): datasets/draw_marker.py, toy_dataset.py,
generate_data_josn.py, mix_data.py. What they read: fields, joined paths, image counts, marker
fields and the order of their indices, and file names. Nothing of them is copied here.

Whoever has that repository can run the scripts themselves, unchanged, on what we write, and compare
every drawn pixel with ours:
    pip install opencv-python-headless torchvision matplotlib pandas
    SPAR_RELEASED_DATASETS=/path/to/SPAR/datasets pytest tests/test_released.py
"""

import importlib
import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from toys import Toys, busy_room

from spar_kit.data.generate import generate
from spar_kit.tasks.markers import draw_markers
from spar_kit.tasks.registry import TASKS

MIX = {"sentence": 1.0, "select": 0.1, "fill": 0.1, "judge": 0.1}

# type -> the markers that its drawing function reads, in the order of the index list; "" where it
# draws nothing
SINGLE = {
    "obj_spatial_relation_oo": "red_bbox blue_bbox",
    "depth_prediction_oc": "red_point blue_point",
    "depth_prediction_oo": "red_point blue_point green_point",
    "distance_prediction_oc": "red_point",
    "distance_prediction_oo": "red_point blue_point",
    "distance_infer_center_oc": "",
    "distance_infer_center_oo": "red_point blue_point green_point",
    "spatial_volume_infer": "red_bbox",
    "spatial_imagination_oc": "red_bbox blue_bbox green_bbox",
    "spatial_imagination_oo": "red_bbox blue_bbox green_bbox yellow_bbox",
}
SEVERAL = {
    # always on the first image, no index is read
    "position_matching": "red_bbox",
    "view_change_infer": "",
    "camera_motion_infer": "",
    "depth_prediction_oc_mv": "red_point blue_point",
    "depth_prediction_oo_mv": "red_point blue_point green_point",
    "distance_prediction_oc_mv": "red_point",
    "distance_prediction_oo_mv": "red_point blue_point",
    "distance_prediction_oo_video": "red_point blue_point",
    "obj_spatial_relation_oc_mv": "red_bbox",
    "obj_spatial_relation_oo_mv": "red_bbox blue_bbox",
    "distance_infer_center_oc_mv": "",
    "distance_infer_center_oo_mv": "red_point green_point blue_point",
    "spatial_imagination_oc_mv": "green_bbox blue_bbox red_bbox",
    "spatial_imagination_oo_mv": "green_bbox blue_bbox red_bbox yellow_bbox",
    "spatial_imagination_oc_video": "green_bbox blue_bbox red_bbox",
    "spatial_imagination_oo_video": "green_bbox blue_bbox red_bbox yellow_bbox",
    "spatial_imagination_map_mv": "bbox_list",
    "distance_infer_center_oo_video": "point_list",
    "obj_frame_locate": "red_bbox",
    "spatial_imagination_oc_video_hard": "",
    "spatial_imagination_oo_video_hard": "",
    "appearance_order": "",
    "room_size": "",
    "obj_count": "",
    "nav": "",
}


@pytest.fixture(scope="module")
def spar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("released")
    generate(Toys(make=busy_room), folder, per_task=3, width=160, progress=False)
    return folder / "spar"


def index_of(spar: Path, dataset: str) -> dict[str, dict]:
    """The training index: one entry per file of questions, as the index script makes it from folder
    and file names."""
    index: dict[str, dict] = {}
    for path in sorted((spar / dataset / "qa_jsonl" / "train").glob("*/*/*")):
        assert path.is_file() and path.suffix == ".jsonl", f"{path} is no file of questions"
        with path.open("r", encoding="utf-8") as file:
            # line by line, by the standard library
            rows = [json.loads(line) for line in file]
        assert int(path.stem.split("_")[-1]) == len(rows), (
            "the number in a file's name is that of its lines"
        )
        key = f"{dataset}_{path.parts[-3]}_{path.parts[-2]}"
        assert key not in index, (
            "one file per task and format: a second one would replace the first"
        )
        index[key] = {
            "root": str(spar / dataset / "images"),
            "annotation": str(path),
            "repeat_time": 1,
            "length": len(rows),
        }
    return index


def rows_of(spar: Path) -> list[tuple[dict, str]]:
    return [
        (json.loads(line), entry["root"])
        for entry in index_of(spar, "synthetic").values()
        for line in open(entry["annotation"])
    ]


def test_the_index_script_finds_every_file(spar: Path) -> None:
    index = index_of(spar, "synthetic")
    assert len(index) > 60 and all(Path(entry["root"]).is_dir() for entry in index.values())


def test_the_mixing_script_knows_every_format(spar: Path) -> None:
    """The weight of a file follows from what its key says after the last underscore; the loader
    takes the first lines of it."""
    for key, entry in index_of(spar, "synthetic").items():
        form = key.split("_")[-1]
        assert form in MIX and key.removeprefix("synthetic_").removesuffix(f"_{form}") in TASKS
        taken = int(entry["length"] * MIX[form])
        assert 0 <= taken <= entry["length"]


def test_every_type_can_be_drawn() -> None:
    assert (
        set(SINGLE) | set(SEVERAL) == {task.type for task in TASKS.values()}
        and len(SINGLE) + len(SEVERAL) == 35
    )


def test_the_loader_reads_every_row(spar: Path) -> None:
    """Loads, prefixes and routes rows by their number of images: one, two to ten, more as frames of
    a video."""
    seen: Counter = Counter()
    for row, root in rows_of(spar):
        assert isinstance(row["id"], str) and isinstance(row["image"], list) and row["image"]
        human, gpt = row["conversations"][:2]
        assert (
            human["from"] == "human"
            and gpt["from"] == "gpt"
            and human["value"].strip()
            and gpt["value"].strip()
        )
        assert "<image>" not in human["value"] and "<video>" not in human["value"], (
            "the loader puts the tokens in front"
        )
        for relative in row["image"]:
            assert not relative.startswith("s3://") and not os.path.isabs(relative)
            with Image.open(os.path.join(root, relative)) as image:
                image.convert("RGB")
        seen[row["type"]] += 1
        count = len(row["image"])
        if row["type"] == "nav":
            continue
        assert count == 1 if row["type"] in SINGLE else 2 <= count <= 10 or count == 32
        assert (count > 10) == (
            next(t for t in TASKS.values() if t.type == row["type"]).views == "video"
        )
    assert len(seen) >= 33


def test_the_marker_script_finds_what_it_draws(spar: Path) -> None:
    """Fields with one outer list; 0 to 1000 of width and height; indices of images, one for each
    marker, in its order."""
    for row, _ in rows_of(spar):
        markers = (SINGLE.get(row["type"]) or SEVERAL.get(row["type"], "")).split()
        present = {key for key in row if key.endswith(("_point", "_bbox", "_list"))}
        assert present == set(markers), row["id"]
        places: list = []
        for marker in markers:
            # [[x, y]], [[x1, y1, x2, y2]] or [[mark, mark, ...]]
            (value,) = row[marker]
            places += value if marker.endswith("list") else [value]
        for place in places:
            x, y = np.array(place).reshape(-1, 2).T
            assert len(place) == (4 if "bbox" in markers[0] else 2) and all(
                isinstance(v, int) and 0 <= v <= 1000 for v in place
            )
            assert len(place) == 2 or (x[0] < x[1] and y[0] < y[1])
        kind = "bbox" if markers and "bbox" in markers[0] else "point"
        index = row.get(f"{kind}_img_idx")
        if row["type"] in SINGLE or not markers or row["type"] == "position_matching":
            assert row["type"] == "position_matching" or index is None
            continue
        assert isinstance(index, list) and len(index) == 1 and len(index[0]) == len(places)
        assert all(0 <= i < len(row["image"]) for i in index[0])
        other = "point" if kind == "bbox" else "bbox"
        assert f"{other}_img_idx" not in row


def test_depth_poses_and_intrinsics_lie_where_the_rgbd_release_has_them(spar: Path) -> None:
    for row, root in rows_of(spar)[::7]:
        scene = row["image"][0].split("/")[0]
        for key, folder in (
            ("image", "image_color"),
            ("depth", "image_depth"),
            ("pose", "pose"),
            ("intrinsic", "intrinsic"),
        ):
            assert len(row[key]) == len(row["image"])
            for relative in row[key]:
                assert relative.startswith(f"{scene}/{folder}/") and Path(root, relative).is_file()
        for relative in row["pose"] + row["intrinsic"]:
            assert np.loadtxt(Path(root, relative)).shape == (4, 4)
        stems = [[Path(p).stem for p in row[key]] for key in ("image", "depth", "pose")]
        assert stems[0] == stems[1] == stems[2]


@pytest.fixture
def released(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A function that imports one of the released scripts, with an empty folder to work in; skips
    where there is none."""
    folder = os.environ.get("SPAR_RELEASED_DATASETS")
    if not folder:
        pytest.skip("SPAR_RELEASED_DATASETS names no folder of the released scripts")
    monkeypatch.syspath_prepend(str(Path(folder).absolute()))
    monkeypatch.chdir(tmp_path)

    def script(name: str, *needs: str) -> Any:
        for module in needs:
            pytest.importorskip(module)
        return importlib.import_module(name)

    return script


def test_the_released_marker_script_draws_every_row_as_we_do(spar: Path, released: Any) -> None:
    functions = released("draw_marker", "cv2").DRAW_FUNCTIONS
    assert set(functions) == set(SINGLE) | set(SEVERAL)
    drawn = set()
    for row, root in rows_of(spar):
        images = []
        for relative in row["image"]:
            with Image.open(os.path.join(root, relative)) as image:
                images.append(image.convert("RGB"))
        theirs = [image.copy() for image in images]
        functions[row["type"]](theirs[0] if row["type"] in SINGLE else theirs, row)
        ours = draw_markers(row, images, released=True)
        assert len(ours) == len(theirs)
        for before, mine, other in zip(images, ours, theirs):
            assert (np.asarray(mine) == np.asarray(other)).all(), f"{row['id']} ({row['type']})"
            if (np.asarray(before) != np.asarray(other)).any():
                drawn.add(row["type"])
    assert drawn == {t for t, markers in {**SINGLE, **SEVERAL}.items() if markers} & {
        row["type"] for row, _ in rows_of(spar)
    }


def test_the_released_index_and_mixing_scripts_make_what_we_expect(
    spar: Path, released: Any
) -> None:
    wanted = index_of(spar, "synthetic")
    released("generate_data_josn", "tqdm").process_dataset("synthetic", base_dir=str(spar))
    (made,) = Path("data_jsons").glob("synthetic_*k.json")
    assert json.loads(made.read_text()) == wanted == index_of(spar, "synthetic"), (
        "all files, none renamed"
    )
    # one of the four names that the script looks for
    shutil.copy(made, "data_jsons/rxr_11k.json")
    released("mix_data", "tqdm").main()
    (mixed,) = Path("data_jsons").glob("1rxr_*.json")
    taken = {
        key: entry["length_with_repeat"] for key, entry in json.loads(mixed.read_text()).items()
    }
    assert taken == {
        key: int(entry["length"] * MIX[key.split("_")[-1]]) for key, entry in wanted.items()
    }


def test_the_released_loader_reads_every_row(spar: Path, released: Any) -> None:
    wanted = index_of(spar, "synthetic")
    Path("index.json").write_text(json.dumps(wanted))
    loader = released("toy_dataset", "cv2", "torch", "torchvision", "matplotlib", "pandas", "tqdm")
    items = loader.build_datasets(json_dir="index.json")
    rows = [row for row, _ in rows_of(spar)]
    assert len(items) == len(rows) == sum(entry["length"] for entry in wanted.values())
    for item, row in zip(items, rows):
        assert item["index"] == row["id"] and item["answer"] == row["conversations"][1]["value"]
        assert item["question"].endswith(row["conversations"][0]["value"])
        assert item["question"].count("<image>") == len(item["images"]) == len(row["image"])
        assert item["question"].startswith("Frame-1: <image>") == (
            row["type"] == "nav" or len(row["image"]) > 10
        )
