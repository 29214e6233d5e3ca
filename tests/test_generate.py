"""Generating: the same bytes always, nothing half-written, everything counted."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import orjson
import pytest
from PIL import Image
from test_bad_scenes import room
from toys import Toys

from spar_kit.core.environment import environment
from spar_kit.core.parallel import Outcome, map_scenes
from spar_kit.data import generate as module
from spar_kit.data.generate import generate
from spar_kit.data.manifest import read_manifest, redact_paths
from spar_kit.data.records import (
    RecordError,
    decode_record,
    encode_record,
    is_safe_relative_path,
    list_shards,
    load_images,
    read_json_records,
    read_records,
    safe_join,
)
from spar_kit.data.scene_job import resolve_tasks
from spar_kit.data.writer import WriteError, color_image, color_suffix, encode_jpeg, format_matrix
from spar_kit.scenes.box_room import box_room_scene
from spar_kit.scenes.scene import Scene, SceneError
from spar_kit.tasks.registry import TASKS

TASK_NAMES = "depth_prediction_oc,obj_spatial_relation_oo,position_matching,view_change_infer"


@dataclass(frozen=True)
class Breaking(Toys):
    """Small rooms; some break on purpose."""

    names: tuple[str, ...] = ("toy0", "toy1", "toy2")
    make: Callable[[str], Scene] = partial(box_room_scene, 8, 120)
    name: str = "toy"
    broken: tuple[str, ...] = ()
    # loading one of these kills the process, unless the environment forbids it
    deadly: tuple[str, ...] = ()

    def scenes(self, split: str | None = None) -> list[str]:
        return [f"{split}_{name}" if "/" not in name else name for name in self.names]

    def load(self, scene: str) -> Scene:
        if scene.split("_")[-1] in self.broken:
            raise SceneError("cut off", "/data/scans/toy/toy.sens", "byte 12")
        if scene.split("_")[-1] in self.deadly and os.environ.get("TOYS") != "alive":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().load(scene)


def make(out: Path, source: Breaking | None = None, **options):
    return generate(
        source or Breaking(),
        out,
        **{"tasks": TASK_NAMES, "per_task": 6, "progress": False, "width": 120, **options},
    )


def tree(folder: Path, part: str = "spar") -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((folder / part).rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "data"
    make(folder)
    return folder


def test_layout_manifest_and_records(whole):
    manifest = read_manifest(whole)
    content = manifest.content
    assert (
        manifest.records > 100
        and set(content["scenes"]) == {"train_toy0", "train_toy1", "train_toy2"}
        and not manifest.failed
    )
    assert sorted(p.name for p in whole.iterdir()) == ["manifest.json", "spar"]
    assert (
        str(whole) not in (whole / "manifest.json").read_text()
        and "/work" not in (whole / "manifest.json").read_text()
    )
    assert all(
        part["environment"] == environment() for part in (content, *content["splits"].values())
    )
    found = {}
    for path, task, form, images in list_shards(whole, "train"):
        data = path.read_bytes()
        rows = list(read_json_records(path))
        assert path.name == f"{form}_{len(rows)}.jsonl" and form in TASKS[task].formats
        assert (
            content["shards"][path.relative_to(whole).as_posix()]["sha256"]
            == hashlib.sha256(data).hexdigest()
        )
        found.setdefault(task, {})[form] = len(rows)
        for row in rows:
            for key in ("image", "depth", "pose", "intrinsic"):
                assert len(row[key]) == TASKS[task].images and all(
                    (images / p).exists() for p in row[key]
                )
            assert row["facts"]["format"] == form and row["type"] == task
    assert {
        task: {f: n for f, n in forms.items() if n}
        for task, forms in content["counts"].items()
        if any(forms.values())
    } == found
    ids = [record["id"] for record, _ in read_records(whole)]
    assert len(ids) == len(set(ids)) == manifest.records
    record, root = next(read_records(whole, tasks=["obj_spatial_relation_oo"]))
    assert list(record)[:7] == [
        "id",
        "conversations",
        "image",
        "type",
        "depth",
        "pose",
        "intrinsic",
    ]
    plain = load_images(record, root, marked=False)
    marked = load_images(record, root)
    assert (
        plain[0].size == marked[0].size == (120, 90)
        and (np.asarray(plain[0]) != np.asarray(marked[0])).any()
    )
    scene = root / record["image"][0].split("/")[0]
    stated = orjson.loads((scene / "instances.json").read_bytes())
    assert (
        stated["units"] == "metres"
        and stated["up"] == "+Z"
        and {i["id"] for i in stated["instances"]} == {1, 2, 3, 4, 6, 7, 8, 9}
    )
    assert np.asarray(Image.open(next((scene / "image_instance").iterdir()))).max() <= 9


def test_two_workers_write_the_same_bytes(whole, tmp_path):
    make(tmp_path / "two", workers=2)
    assert tree(tmp_path / "two") == tree(whole)
    assert (tmp_path / "two/manifest.json").read_bytes() == (whole / "manifest.json").read_bytes()


def test_other_seeds_ask_other_questions(whole, tmp_path):
    make(tmp_path / "other", seed=1, tasks="depth_prediction_oc")
    one, other = (
        [r["conversations"][0]["value"] for r, _ in read_records(f, tasks=["depth_prediction_oc"])]
        for f in (whole, tmp_path / "other")
    )
    assert one != other


def test_a_complete_folder_is_left_alone(whole):
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    manifest = make(whole)
    assert manifest.reused and "nothing to do" in str(manifest)
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*")} == before


def test_other_parameters_are_refused_and_overwritten_on_demand(tmp_path):
    folder = tmp_path / "data"
    one = Breaking(("toy0",))
    make(folder, one)
    with pytest.raises(ValueError, match="per_task: 6, now 5"):
        make(folder, one, per_task=5)
    # another split may move in
    make(folder, one, split="val")
    assert set(read_manifest(folder).content["splits"]) == {"train", "val"}
    val = {name: digest for name, digest in tree(folder).items() if "val" in name}
    # and stays when the first is made anew
    make(folder, one, per_task=5, overwrite=True)
    assert read_manifest(folder).content["splits"]["train"]["parameters"]["per_task"] == 5
    assert {name: digest for name, digest in tree(folder).items() if "val" in name} == val
    make(tmp_path / "fresh", one, per_task=5)
    assert {n: d for n, d in tree(folder).items() if "train" in n} == tree(tmp_path / "fresh")


def test_a_foreign_folder_is_not_touched(tmp_path):
    (tmp_path / "spar").mkdir()
    (tmp_path / "spar/precious.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="did not write"):
            make(tmp_path, overwrite=overwrite)
    assert (tmp_path / "spar/precious.txt").read_text() == "mine"
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="not a folder"):
        make(tmp_path / "file")


KILLED = """
import sys
sys.path.insert(0, sys.argv[2])
from test_generate import Breaking, make
from pathlib import Path
import spar_kit.data.generate as module
import os, signal
if sys.argv[3] == "merge":
    join = module._join
    def killed(*args):
        join(*args)
        os.kill(os.getpid(), signal.SIGKILL)
    module._join = killed
make(Path(sys.argv[1]), Breaking(deadly=("toy1",) if sys.argv[3] == "scene" else ()))
"""


@pytest.mark.parametrize("when", ["scene", "merge"])
def test_killed_and_started_again_writes_the_same_bytes(whole, tmp_path, when):
    folder = tmp_path / "data"
    child = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder), str(Path(__file__).parent), when],
        capture_output=True,
    )
    assert child.returncode == -signal.SIGKILL
    assert not (folder / "manifest.json").exists()
    if when == "scene":
        assert (folder / ".scenes/train_toy0.lines").exists() and not list(
            folder.glob("spar/*/qa_jsonl")
        )
    with pytest.raises(ValueError, match="unfinished run with other parameters"):
        make(folder, seed=5)
    make(folder)
    assert tree(folder) == tree(whole) and sorted(p.name for p in folder.iterdir()) == [
        "manifest.json",
        "spar",
    ]


@dataclass(frozen=True)
class Rooms(Breaking):
    """Rooms in which every task finds something."""

    make: Callable[[str], Scene] = room


KILLED_ROOMS = """
import sys
sys.path.insert(0, sys.argv[2])
from test_generate import Rooms, make
from pathlib import Path
make(Path(sys.argv[1]), Rooms(deadly=("toy1",)), tasks="all", per_task=3)
"""


def test_every_task_gives_the_same_bytes_killed_or_not_and_with_four_workers(tmp_path):
    one = make(tmp_path / "one", Rooms(), tasks="all", per_task=3)
    silent = {task for task, forms in one.counts.items() if not any(forms.values())}
    assert len(one.counts) == 35 and len(silent) <= 2, silent
    child = subprocess.run(
        [sys.executable, "-c", KILLED_ROOMS, str(tmp_path / "four"), str(Path(__file__).parent)],
        capture_output=True,
    )
    assert (
        child.returncode == -signal.SIGKILL
        and (tmp_path / "four/.scenes/train_toy0.lines").exists()
    )
    make(tmp_path / "four", Rooms(), tasks="all", per_task=3, workers=4)
    assert tree(tmp_path / "four") == tree(tmp_path / "one")
    assert (tmp_path / "four/manifest.json").read_bytes() == (
        tmp_path / "one/manifest.json"
    ).read_bytes()


def test_a_worker_that_dies_costs_its_scene_only(whole, tmp_path):
    manifest = make(tmp_path / "data", Breaking(deadly=("toy1",)), workers=2)
    assert list(manifest.failed) == ["train_toy1"] and "died" in manifest.failed["train_toy1"]
    assert set(manifest.content["scenes"]) == {"train_toy0", "train_toy2"}
    kept = tree(tmp_path / "data", "spar/toy/images")
    assert kept == {
        name: digest
        for name, digest in tree(whole, "spar/toy/images").items()
        if "toy1" not in name
    }


def test_a_scene_that_raises_is_counted_and_the_others_go_on(tmp_path, capsys):
    manifest = make(tmp_path / "data", Breaking(broken=("toy0",)))
    assert (
        manifest.failed == {"train_toy0": "SceneError: toy/toy.sens: byte 12: cut off"}
        and len(manifest.content["scenes"]) == 2
    )
    assert "cut off" in str(manifest)
    with pytest.raises(SceneError, match="none of 3 scenes could be used.*cut off"):
        make(tmp_path / "none", Breaking(broken=("toy0", "toy1", "toy2")))
    assert not (tmp_path / "none/manifest.json").exists()
    with pytest.raises(SceneError, match="no scene"):
        make(tmp_path / "empty", Breaking(names=()))


def test_a_scene_name_never_leaves_the_folder(tmp_path):
    manifest = make(tmp_path / "data", Breaking(names=("toy0", "../../evil")))
    assert list(manifest.failed) == ["../../evil"] and not list(tmp_path.glob("**/evil"))


def test_a_full_disk_is_one_clear_error_and_leaves_nothing_half(whole, tmp_path, monkeypatch):
    folder = tmp_path / "data"
    real = Path.write_bytes
    left = [30]

    def full(path: Path, data: bytes) -> int:
        left[0] -= 1
        if left[0] < 0 and folder in path.parents:
            real(path, data[: len(data) // 2])  # what a full disk does
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left on device.*go on"):
        make(folder)
    assert (
        not (folder / "manifest.json").exists()
        and not list(folder.glob("spar/*/qa_jsonl/**/*.jsonl"))
        and not list(folder.glob(".parts/*"))
    )
    left[0] = 10**9
    make(folder)
    assert tree(folder) == tree(whole)


def test_a_disk_that_fills_up_while_merging(whole, tmp_path, monkeypatch):
    folder = tmp_path / "data"
    real = module.atomic_write

    def full(path):
        if Path(path).suffix == ".jsonl":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path)

    monkeypatch.setattr(module, "atomic_write", full)
    with pytest.raises(OSError, match="No space left"):
        make(folder)
    monkeypatch.undo()
    assert not (folder / "manifest.json").exists()
    make(folder)
    assert tree(folder) == tree(whole)


def test_tasks_that_are_not_there_yet(tmp_path):
    names, missing = resolve_tasks("all")
    assert "depth_prediction_oc" in names and set(names) | set(missing) == set(TASKS)
    for name in missing:
        with pytest.raises(NotImplementedError, match=name):
            resolve_tasks(f"depth_prediction_oc,{name}")
    with pytest.raises(ValueError, match="did you mean 'obj_count'"):
        resolve_tasks("obj_cuont")
    for bad in ({"per_task": 0}, {"split": "test"}, {"frames_per_scene": 0}):
        with pytest.raises(ValueError):
            make(tmp_path / "bad", **bad)
    assert not (tmp_path / "bad").exists()


def test_errors_of_the_driver_pass_through():
    def job(name):
        return Outcome(name, "ok")

    seen = []
    map_scenes(job, ["a", "b"], 1, seen.append)
    assert seen == [Outcome("a", "ok"), Outcome("b", "ok")]

    def stop(result):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        map_scenes(job, ["a"], 1, stop)


def test_any_executor_will_do(whole, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as executor:
        make(tmp_path / "data", executor=executor)
    assert tree(tmp_path / "data") == tree(whole)


# --- one scene on disk
# ------------------------------------------------------------------------------------------------------------  # noqa: E501


def test_the_owners_image_is_copied_and_a_damaged_one_is_refused():
    frame = box_room_scene(frames=1, width=64).frames[0]
    own = encode_jpeg(frame)
    out = BytesIO()
    Image.fromarray(frame.read_color()).save(out, "PNG")
    png = out.getvalue()
    # the same picture with a comment: other bytes
    other = own[:2] + b"\xff\xfe\x00\x06mine" + own[2:]
    assert color_image(frame) == (own, "encoded")
    assert color_image(replace(frame, read_encoded=lambda: (other, ".jpg"))) == (other, "copied")
    kept = replace(frame, encoding=".png", read_encoded=lambda: (png, ".png"))
    assert color_image(kept) == color_image(kept, "link") == (png, "copied") and color_image(
        kept, "convert"
    ) == (own, "converted")
    assert (color_suffix(kept), color_suffix(kept, "convert"), color_suffix(frame)) == (
        ".png",
        ".jpg",
        ".jpg",
    )
    # a PNG that says it is a JPEG: the name is kept true
    assert color_image(replace(kept, encoding=".jpg")) == (own, "converted")
    small = BytesIO()
    Image.new("RGB", (32, 24)).save(small, "JPEG")
    for bad, words in (
        (own[:400], "damaged image"),
        (b"not a jpeg", "damaged image"),
        (png[:-200], "damaged image"),
        (small.getvalue(), "32x24 where 64x48"),
    ):
        with pytest.raises(SceneError, match=f"frame 0 colour: .*{words}"):
            color_image(replace(frame, read_encoded=lambda bad=bad: (bad, ".jpg")))


def test_matrices_are_plain_text():
    assert (
        format_matrix(np.array([[1, 0, -0.0], [0, 2, 3.5], [0, 0, 1]]))
        == b"1.000000000 0.000000000 0.000000000 0.000000000\n0.000000000 2.000000000 3.500000000"
        b" 0.000000000\n0.000000000 0.000000000 1.000000000 0.000000000\n0.000000000 0.000000000"
        b" 0.000000000 1.000000000\n"
    )
    assert WriteError(errno.ENOSPC, "full").errno == errno.ENOSPC


def test_messages_lose_the_machines_paths():
    assert redact_paths("/a/b/c/d.json: line 3: bad") == "c/d.json: line 3: bad"
    assert (
        redact_paths("KeyError: 'x/y' of /home/u/data/scene/file.ply, then 3/4")
        == "KeyError: 'x/y' of scene/file.ply, then 3/4"
    )


# --- records
# ----------------------------------------------------------------------------------------------------------------------  # noqa: E501

GOOD = {
    "id": "a_0",
    "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}],
    "image": ["a/1.jpg"],
    "type": "obj_count",
}


@pytest.mark.parametrize(
    "change, field",
    [
        ({"id": None}, "id"),
        ({"id": ""}, "id"),
        ({"type": 3}, "type"),
        ({"conversations": "q"}, "conversations"),
        ({"conversations": [{"from": "human"}]}, "conversations"),
        (
            {"conversations": [{"from": "gpt", "value": "q"}, {"from": "human", "value": "a"}]},
            "conversations",
        ),
        ({"image": []}, "image"),
        ({"image": "a.jpg"}, "image"),
        ({"image": ["../a.jpg"]}, "image"),
        ({"image": ["/etc/passwd"]}, "image"),
        ({"depth": ["a/../../b.png"]}, "depth"),
        ({"pose": [None]}, "pose"),
    ],
)
def test_malformed_records_name_file_line_and_field(tmp_path, change, field):
    path = tmp_path / "fill_2.jsonl"
    path.write_bytes(
        encode_record(GOOD) + b"\n" + encode_record({**GOOD, **change}) + encode_record(GOOD)
    )
    with pytest.raises(RecordError, match=rf"fill_2.jsonl: line 3: {field}: ") as error:
        list(read_json_records(path))
    assert (
        error.value.line == 3 and error.value.field == field and isinstance(error.value, ValueError)
    )
    problems: list[str] = []
    assert (
        len(list(read_json_records(path, problems))) == 2
        and len(problems) == 1
        and "line 3" in problems[0]
    )


@pytest.mark.parametrize(
    "line", [b"", b"[1]", b"3", b'{"id": "x"', b"\xff\xfe", b'{"id": NaN}', b"[" * 5000]
)
def test_lines_that_are_no_record(line):
    with pytest.raises(RecordError):
        decode_record(line)


def test_paths_stay_inside(tmp_path):
    assert safe_join(tmp_path, "a/b.jpg") == tmp_path / "a/b.jpg"
    for bad in ("..", "a/..", "../a", "/a", "a//b", "C:\\a", "a\\b", "a\x00b", ""):
        assert not is_safe_relative_path(bad)
        with pytest.raises(ValueError, match="leaves"):
            safe_join(tmp_path, bad)


def test_reading_a_folder_that_is_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="qa_jsonl"):
        list(read_records(tmp_path))
    with pytest.raises(ValueError, match="not complete"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text('{"records": 1')
    with pytest.raises(ValueError, match="not a manifest"):
        read_manifest(tmp_path)
    record = {**GOOD, "image": ["none.jpg"]}
    with pytest.raises(FileNotFoundError, match="none.jpg"):
        load_images(record, tmp_path)
    (tmp_path / "none.jpg").write_bytes(b"\xff\xd8\xff cut off")
    with pytest.raises(OSError, match="none.jpg: cannot be read"):
        load_images(record, tmp_path)
