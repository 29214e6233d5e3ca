"""Directions for a walk: generated, verified, altered and caught; and SPAR's released RxR rows,
read, drawn and batched like any other."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toys import Toys, box_scene

from spar_kit.data.generate import generate
from spar_kit.data.question import Question
from spar_kit.data.records import load_images, read_records
from spar_kit.language.builders.route import route_text, turn_words
from spar_kit.language.templates import load_templates
from spar_kit.oracle.derive.navigation import Step, read_steps
from spar_kit.oracle.verify import Report, verify
from spar_kit.scenes.box_room import solid
from spar_kit.scenes.scene import Camera, Scene, look_at
from spar_kit.tasks.markers import marks_of
from spar_kit.tasks.thresholds import Thresholds
from spar_kit.train.collate import messages, samples_from_records

SCENE = "hall0000_00"
LABELS = {
    "sofa": (6.6, 1.4, 0.4),
    "tv": (5.0, 5.6, 0.5),
    "shelf": (1.0, 3.2, 0.6),
    "bed": (2.6, 4.6, 0.3),
    "chair": (3.0, 0.3, 0.4),
    "plant": (6.7, 3.6, 0.5),
}


def hall(name: str) -> Scene:
    """A hall of 7 m x 6 m. The camera walks east towards a sofa, then north towards a tv, and looks
    where it goes, a little to the left."""
    solids = [
        solid(1, "floor", (3.5, 3, -0.05), size=(7, 6, 0.1), yaw_degrees=0, rgb=(170, 150, 130))
    ]
    for k, (label, center) in enumerate(LABELS.items()):
        solids.append(
            solid(
                k + 2,
                label,
                center,
                size=(0.5, 0.6, 2 * center[2]),
                yaw_degrees=20 * k,
                rgb=(40 * k + 30, 200 - 30 * k, 120),
            )
        )
    spots = [(x, 1.4, 1.0, 0.3) for x in np.linspace(0.6, 4.9, 26)] + [
        (5.0, y, -0.3, 1.0) for y in np.linspace(1.6, 4.4, 18)
    ]
    poses = [
        look_at(np.array([x, y, 1.5]), np.array([x + dx, y + dy, 1.2])) for x, y, dx, dy in spots
    ]
    return box_scene(
        name,
        solids,
        poses,
        cameras=(Camera.from_fov(160, 120, 80), Camera.from_fov(120, 90, 80)),
        room="hall",
        sides=(7, 6),
    )


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nav") / "clean"
    # many that are alike
    generate(
        Toys((SCENE,), hall),
        folder,
        tasks="nav_video",
        per_task=40,
        rules=Thresholds(route_overlap=1.0),
        progress=False,
    )
    return folder


def lines_of(folder: Path) -> Path:
    return next(folder.glob("spar/*/qa_jsonl/train/nav_video/sentence/*.jsonl"))


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in lines_of(folder).read_text().splitlines()]


def altered(clean: Path, to: Path, change: Callable[[dict], bool]) -> tuple[Report, int]:
    """The verdict on a copy whose records `change` has altered, and how many it did."""
    shutil.copytree(clean, to / "data")
    found = records(clean)
    n = sum([change(record) for record in found])
    lines_of(to / "data").write_text("".join(json.dumps(record) + "\n" for record in found))
    manifest = json.loads((to / "data/manifest.json").read_text())
    (to / "data/manifest.json").write_text(json.dumps(manifest | {"shards": {}}))
    return verify(to / "data"), n


# ------------------------------------------------------------------------------------------------------------------  # noqa: E501
# our own rows


def test_routes_are_generated_and_verified(clean: Path) -> None:
    report = verify(clean)
    found = records(clean)
    assert report.ok and report.checked == len(found) >= 4 and not report.not_checkable
    for record in found:
        assert record["type"] == "nav" and 16 <= len(record["image"]) <= 32 and not marks_of(record)
        assert record["facts"]["frames"] == sorted(record["facts"]["frames"])
    texts = [record["conversations"][1]["value"] for record in found]
    assert any("towards the sofa" in text for text in texts) and any(
        "towards the tv" in text for text in texts
    )
    # nobody walks towards these
    assert not any("shelf" in text or "chair" in text for text in texts)


def test_the_text_is_the_walk(clean: Path) -> None:
    """Walked with turns and lengths as told, every route ends at the last camera: without the
    oracle."""
    for record in records(clean):
        steps = read_steps(record["conversations"][1]["value"], list(LABELS))
        poses = [
            np.loadtxt(clean / "spar/synthetic/images" / path)
            for path in (record["pose"][0], record["pose"][-1])
        ]
        heading = np.arctan2(poses[0][1, 2], poses[0][0, 2])
        at = poses[0][:2, 3].copy()
        for step in steps:
            heading -= np.radians(step.turn)
            at += step.walk * np.array([np.cos(heading), np.sin(heading)])
        assert np.linalg.norm(at - poses[1][:2, 3]) < 0.31
        assert np.cos(heading - np.arctan2(poses[1][1, 2], poses[1][0, 2])) > np.cos(
            np.radians(2.5 * len(steps) + 0.1)
        )


def test_routes_of_a_scan_share_little(clean: Path, tmp_path: Path) -> None:
    """At most half of the shorter one; without the cap the oracle says so."""
    generate(
        Toys((SCENE,), hall), tmp_path / "data", tasks="nav_video", per_task=40, progress=False
    )
    spans = [
        (r["facts"]["frames"][0], r["facts"]["frames"][-1]) for r in records(tmp_path / "data")
    ]
    shares = [
        (min(b, d) - max(a, c) + 1) / (min(b - a, d - c) + 1)
        for k, (a, b) in enumerate(spans)
        for c, d in spans[:k]
    ]
    assert len(spans) >= 2 and max(shares) <= 0.5 and verify(tmp_path / "data").ok
    manifest = json.loads((clean / "manifest.json").read_text())
    shutil.copytree(clean, tmp_path / "alike")
    manifest["parameters"]["rules"]["route_overlap"] = 0.5
    (tmp_path / "alike/manifest.json").write_text(json.dumps(manifest))
    found = verify(tmp_path / "alike").tasks["nav_video"]
    assert found.mismatched > found.checked / 2 and all(
        "share" in m.reason for m in found.mismatches
    )


def answer_of(change: Callable[[str], str]) -> Callable[[dict], bool]:
    def alter(record: dict) -> bool:
        turn = record["conversations"][1]
        before, turn["value"] = turn["value"], change(turn["value"])
        return turn["value"] != before

    return alter


SWAP = {"left": "right", "right": "left"}
TEXTS = {
    "a turn to the other side": lambda text: re.sub(
        r"\b(left|right)\b", lambda m: SWAP[m[0]], text, count=1
    ),
    "all turns to the other side": lambda text: re.sub(
        r"\b(left|right)\b", lambda m: SWAP[m[0]], text
    ),
    "a turn of 5 degrees more": lambda text: re.sub(
        r"(\d+) degrees", lambda m: f"{int(m[1]) + 5} degrees", text, count=1
    ),
    "a length times 1.5": lambda text: re.sub(
        r"(\d+\.\d) meters", lambda m: f"{1.5 * float(m[1]):.1f} meters", text, count=1
    ),
    "a length and 0.1 m": lambda text: re.sub(
        r"(\d+\.\d) meters", lambda m: f"{float(m[1]) + 0.1:.1f} meters", text, count=1
    ),
    "another unit": lambda text: text.replace("meters", "centimeters", 1),
    "another landmark": lambda text: re.sub(r"towards the \w+", "towards the shelf", text, count=1),
    "a landmark that is not there": lambda text: re.sub(
        r"towards the \w+", "towards the piano", text, count=1
    ),
    "a lost landmark": lambda text: re.sub(r" towards the \w+", "", text, count=1),
    "the last sentence lost": (
        lambda text: text[: re.search(r"[.] (?=[^.]*(?:\d[.]\d[^.]*)*[.]$)", text).end()].strip()
    ),
    "a sentence twice": lambda text: re.match(r".*?[a-z]\. ", text)[0] + text,
}


@pytest.mark.parametrize("change", TEXTS.values(), ids=TEXTS.keys())
def test_an_altered_answer_is_caught(
    clean: Path, tmp_path: Path, change: Callable[[str], str]
) -> None:
    report, n = altered(clean, tmp_path, answer_of(change))
    assert n >= 2 and report.tasks["nav_video"].mismatched == n


def other_place(record: dict) -> bool:
    record["facts"]["place"][1][0] += 0.4
    return True


def other_turn(record: dict) -> bool:
    record["facts"]["turn"][0] += 1
    return True


def backwards(record: dict) -> bool:
    for key in ("image", "depth", "pose"):
        record[key].reverse()
    record["facts"]["frames"].reverse()
    return True


def fewer_frames(record: dict) -> bool:
    for key in ("image", "depth", "pose", "intrinsic"):
        record[key] = record[key][:15]
    record["facts"]["frames"] = record["facts"]["frames"][:15]
    return True


@pytest.mark.parametrize(
    "change", [other_place, other_turn, backwards, fewer_frames], ids=lambda f: f.__name__
)
def test_an_altered_record_is_caught(
    clean: Path, tmp_path: Path, change: Callable[[dict], bool]
) -> None:
    report, n = altered(clean, tmp_path, change)
    assert n == report.tasks["nav_video"].mismatched == report.checked


def move_cameras(folder: Path) -> None:
    for path in (folder / "pose").iterdir():
        pose = np.loadtxt(path)
        pose[:2, 3] *= 1.2
        np.savetxt(path, pose)


def turn_cameras(folder: Path) -> None:
    c = np.cos(0.4)
    s = np.sin(0.4)
    for path in (folder / "pose").iterdir():
        pose = np.loadtxt(path)
        pose[:2, :3] = np.array([[c, -s], [s, c]]) @ pose[:2, :3]
        np.savetxt(path, pose)


def box_in_the_way(folder: Path) -> None:
    document = json.loads((folder / "instances.json").read_text())
    document["instances"].append(
        {"id": 99, "label": "box", "center": [4.5, 1.4, 0.5], "size": [0.3, 0.3, 1.0], "yaw": 0.2}
    )
    (folder / "instances.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    "mutation", [move_cameras, turn_cameras, box_in_the_way], ids=lambda f: f.__name__
)
def test_a_mutated_ground_truth_is_caught(
    clean: Path, tmp_path: Path, mutation: Callable[[Path], None]
) -> None:
    shutil.copytree(clean, tmp_path / "data")
    mutation(tmp_path / "data/spar/synthetic/images" / SCENE)
    report = verify(tmp_path / "data")
    # not every route comes by the box
    found = report.tasks["nav_video"].mismatched
    assert found == report.checked > 0 or mutation is box_in_the_way and found > report.checked / 4


def test_words_of_a_route() -> None:
    said = load_templates().tasks["nav_video"]
    # whatever the template, what was put in is read out again
    for draw in np.linspace(0, 0.99, 7):
        for first in (0.0, 2.4, -40.0, 165.0):
            text = route_text(
                [first, 95.0, -2.0], [1.26, 3.0], ["top right lamp", ""], said, [draw] * 3
            )
            assert read_steps(text, ["lamp", "top right lamp"]) == [
                Step(5 * round(first / 5), 1.3, "top right lamp"),
                Step(95, 3.0, ""),
                Step(0, 0, ""),
            ]
            assert "  " not in text and text.endswith(".")
    assert turn_words(-2.4) == {} and turn_words(-92.6) == {"turn": "95", "side": "left"}
    assert all(
        len(said.sentence[case]) >= 6
        for case in ("first", "first_to", "ahead", "ahead_to", "next", "next_to", "end", "stop")
    )


# ------------------------------------------------------------------------------------------------------------------  # noqa: E501
# released rows


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """Two rows as SPAR-7M has them for RxR: type "nav", frames of a Matterport scan, no marker
    fields, no facts."""
    images = tmp_path / "spar/rxr/images"
    rows = []
    for n, count in enumerate((5, 14)):
        names = [f"scan{n}/video_color/frame{i}_{7 * i}.jpg" for i in range(count)]
        for i, name in enumerate(names):
            (images / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (64, 48), (10 * i, 100, 50)).save(images / name)
        rows.append(
            {
                "id": f"rxr_{n}",
                "conversations": [
                    {"from": "human", "value": "Where does this walk lead?"},
                    {"from": "gpt", "value": "Past the table."},
                ],
                "image": names,
                "type": "nav",
            }
        )
    path = tmp_path / "spar/rxr/qa_jsonl/train/nav_video/sentence/sentence_2.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_released_rows_are_read_and_drawn(released: Path) -> None:
    found = list(read_records(released, "train", tasks=("nav_video",)))
    assert [len(record["image"]) for record, _ in found] == [5, 14]
    for record, root in found:
        plain, marked = (load_images(record, root, marked=marked) for marked in (False, True))
        assert (
            not marks_of(record)
            and [i.tobytes() for i in plain] == [i.tobytes() for i in marked]
            and len(plain) == len(record["image"])
        )
        assert [i.tobytes() for i in load_images(record, root, released=True)] == [
            i.tobytes() for i in plain
        ]


def test_released_rows_are_trained_on(released: Path) -> None:
    samples = list(samples_from_records(released, "train"))
    assert [(sample.task, sample.format, len(sample.images)) for sample in samples] == [
        ("nav_video", "sentence", 5),
        ("nav_video", "sentence", 14),
    ]
    # SPAR's loader shows them as a video, however few the frames are
    for sample in samples:
        content = messages(sample, [None] * len(sample.images))[0]["content"]
        texts = [part["text"] for part in content if part["type"] == "text"]
        assert [text for text in texts if text.startswith("Frame-")] == [
            f"Frame-{k}: " for k in range(len(sample.images))
        ]
        assert (
            sum(part["type"] == "image" for part in content) == len(sample.images)
            and texts[-1] == "Where does this walk lead?"
        )


def test_task_of_a_row() -> None:
    row = {
        "id": "1",
        "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}],
        "image": ["a.jpg"],
    }
    assert Question.from_record(row | {"type": "nav"}, Path("x")).task == "nav_video"
    assert Question.from_record(row | {"type": "obj_count"}, Path("x")).task == "obj_count"
