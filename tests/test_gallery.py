"""The gallery: every task has a drawing, the numbers beside it are those of the answer, and
whatever a label holds is text."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spar_kit.data.generate import generate
from spar_kit.report.explanations import explain
from spar_kit.report.floor_plan import (
    Drawing,
    RoomOutline,
    camera_plane,
    contact_sheet,
    draw_room,
    fan_of,
    place_texts,
)
from spar_kit.report.gallery import build_gallery, choose_exhibits, inline, write_gallery
from spar_kit.scenes.scene import Camera, OrientedBox
from spar_kit.scenes.sources import open_source

ASKED = (
    "depth_prediction_oc",
    "distance_prediction_oo",
    "view_change_infer",
    "spatial_imagination_oc",
    "obj_spatial_relation_oo",
    "position_matching",
    "obj_frame_locate",
    "camera_motion_infer",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gallery") / "data"
    generate(
        open_source("synthetic", scenes=2, seed=3, frames=32, width=320),
        folder,
        tasks=",".join(ASKED),
        per_task=6,
        progress=False,
    )
    return folder


class Reader(HTMLParser):
    """Counts tags and keeps the text; fails on a tag that is not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "img", "wbr", "line", "circle", "path", "polygon"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "circle", "path", "polygon"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert not reader.open
    return reader


def test_page(data: Path, tmp_path: Path) -> None:
    page, counts = build_gallery(str(data), tmp_path / "page", tasks=",".join(ASKED), each=2)
    assert sum(counts.values()) >= 2 * len(ASKED) - 2 and min(counts.values()) >= 1
    reader = read(page.read_text())
    assert (
        reader.tags.count("article") == sum(counts.values())
        and reader.tags.count("svg") >= sum(counts.values())
        and "script" not in reader.tags
    )
    shown = re.findall(r'src="([^"]+)"', page.read_text())
    assert (
        shown
        and all((page.parent / name).is_file() for name in shown)
        and set(shown) == {f"pictures/{p.name}" for p in (page.parent / "pictures").iterdir()}
    )
    again, _ = build_gallery(str(data), tmp_path / "again", tasks=",".join(ASKED), each=2)
    assert again.read_bytes() == page.read_bytes()
    inside = inline(page)
    read(inside)
    assert inside.count("data:image/jpeg;base64,") == len(shown) and 'src="pictures' not in inside
    few = inline(page, 1, 100)
    assert few.count("<article") == len(counts) < inside.count("<article") and len(few) < 0.5 * len(
        inside
    )


def test_a_drawing_leaves_out_what_lies_outside_its_frame() -> None:
    square = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    drawing = Drawing(title="a room")
    drawing.polygon(0.2 * square, "#000", hint="inside")
    drawing.polygon(50 * square, "#000", hint="around", fit=False)
    drawing.polygon(square + [30, 0], "#000", hint="far away", fit=False)
    shown = drawing.svg()
    assert (
        "inside" in shown
        and "around" in shown
        and "far away" not in shown
        and "marker" not in shown
    )


def metres_said(line: str) -> list[float]:
    return [float(number) for number in re.findall(r"([\d.]+) m\b", line)]


def test_numbers_beside_the_drawing_are_the_answer(data: Path) -> None:
    exhibits = choose_exhibits(
        data,
        (
            "distance_prediction_oo",
            "depth_prediction_oc",
            "view_change_infer",
            "spatial_imagination_oc",
        ),
        each=3,
    )
    for x in exhibits["distance_prediction_oo"]:
        assert metres_said(explain(x)[1][0])[-1] == pytest.approx(x.facts["answer"], abs=0.005)
    for x in exhibits["depth_prediction_oc"]:
        assert metres_said(explain(x)[1][1]) == pytest.approx([x.facts["answer"]], abs=0.005)
    for x in exhibits["view_change_infer"]:
        yaw, pitch = x.facts["rotation"]
        lines = explain(x)[1]
        assert (
            f"{abs(yaw):.1f} degrees to the {'right' if yaw > 0 else 'left'}" in lines[1]
            and f"pitch: {abs(pitch):.1f} degrees {'up' if pitch > 0 else 'down'}" in lines[1]
        )
        assert metres_said(lines[0]) == pytest.approx(np.abs(x.facts["translation"]), abs=0.005)
        assert lines[0].endswith("forward" if x.facts["translation"][2] > 0 else "backward")
    # up and down are the room's, before the move as after it
    for x in exhibits["spatial_imagination_oc"]:
        for line, (right, down, backward) in zip(
            explain(x)[1], (x.facts["offset"], x.facts["before_offset"])
        ):
            assert metres_said(line)[:3] == pytest.approx(
                np.abs([right, down, backward]), abs=0.005
            )
            assert ("below" if down > 0 else "above") in line and (
                "behind" if backward > 0 else "in front"
            ) in line
    assert {
        (*x.facts["objects"], *x.facts["frames"], x.question.scene)
        for x in exhibits["distance_prediction_oo"]
    }.__len__() == 3


def test_labels_are_text(data: Path, tmp_path: Path) -> None:
    """A data set whose labels and questions hold HTML shows it and does not obey it."""
    import shutil

    shutil.copytree(data, tmp_path / "data")
    evil = '<script>alert("x")</script><img src=x onerror=1>'
    for path in (tmp_path / "data").glob("spar/*/images/*/instances.json"):
        document = json.loads(path.read_text())
        for thing in document["instances"]:
            thing["label"] = evil
        path.write_text(json.dumps(document))
    for path in (tmp_path / "data").glob("spar/*/qa_jsonl/*/*/*/*.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            row["id"] = f"a{evil}"
            for turn in row["conversations"]:
                turn["value"] = evil + turn["value"]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = write_gallery(choose_exhibits(tmp_path / "data", ASKED, each=1), tmp_path / "page", evil)
    reader = read(page.read_text())
    assert (
        "script" not in reader.tags
        and "onerror=1>" not in re.sub(r"&lt;.*?&gt;", "", page.read_text())
        and evil in "".join(reader.text)
    )


def test_few_questions_are_shown_in_other_formats(tmp_path: Path) -> None:
    """A room has one question of its size: where there are fewer rooms than cards, the same is
    asked in another format."""
    for n, form in enumerate(("fill", "select", "sentence")):
        rows = [
            {
                "id": f"{room}_{n}",
                "type": "room_size",
                "conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "9"}],
                "image": [f"{room}/image_color/0.jpg"],
                "facts": {"objects": [], "frames": [0]},
            }
            for room in ("a", "b")
        ]
        file = tmp_path / f"spar/toy/qa_jsonl/train/room_size/{form}/{form}_2.jsonl"
        file.parent.mkdir(parents=True)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    chosen = choose_exhibits(tmp_path, ("room_size",), each=3)["room_size"]
    assert [x.question.format for x in chosen] == ["fill", "select", "sentence"] and len(
        {x.question.id for x in chosen}
    ) == 3


def test_a_source_without_a_task_says_so(data: Path, tmp_path: Path) -> None:
    page, counts = build_gallery(str(data), tmp_path, tasks="obj_count,camera_motion_infer", each=1)
    assert (
        counts["obj_count"] == 0
        and "No scene of this source holds a question of this task." in page.read_text()
    )


def test_drawing_scales_and_keeps_text_apart() -> None:
    drawing = Drawing(title="a & b")
    drawing.line([0, 0], [4, 0], caption="4.00 m", arrow=True)
    drawing.line([0, 3], [4, 3], caption="other")
    for k in range(3):
        drawing.text([2, 1.5], f"label {k}")
    svg = drawing.svg(440)
    ends = [
        tuple(map(float, m))
        for m in re.findall(r'<line x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="([\d.]+)"', svg)
    ]
    bar = float(re.search(r"M10 \d+h([\d.]+)", svg)[1])
    # y goes up
    assert ends[0][2] - ends[0][0] == pytest.approx(4 * bar, abs=0.2) and ends[0][1] - ends[1][
        1
    ] == pytest.approx(3 * bar, abs=0.2)
    places = [
        (float(x), float(y))
        for x, y in re.findall(r'x="([\d.]+)" y="([\d.]+)" font-size="11.5"[^>]*>label', svg)
    ]
    assert len(places) == 3 and all(
        abs(a[1] - b[1]) >= 12 or abs(a[0] - b[0]) >= 6 * len("label 0")
        for i, a in enumerate(places)
        for b in places[:i]
    )
    assert "a &amp; b" in svg


def test_texts_keep_off_lines_and_inside() -> None:
    cross = [np.array([[200.0, 0], [200, 300]]), np.array([[0.0, 150], [400, 150]])]
    texts = ["kitchen counter", "1.44 m", "camera 1", "bowl"]
    for place in ([200, 150], [2, 150], [399, 299], [200, 5]):
        boxes = []
        for (x, y), text in zip(
            place_texts([np.array(place, float)] * 4, texts, cross, (400, 300)), texts
        ):
            half = 3 * len(text)
            assert half <= x <= 400 - half and 7 <= y <= 293
            assert abs(x - 200) >= half and abs(y - 150) >= 7, (place, text)
            assert all(abs(y - b) >= 14 or abs(x - a) >= half + h for a, b, h in boxes)
            boxes.append((x, y, half))


def test_the_bar_fits_what_is_drawn() -> None:
    """A cup is no meter wide: its bar says so."""
    small = Drawing(title="cup")
    large = Drawing(title="hall")
    small.line([0, 0], [0.1, 0.05])
    large.line([0, 0], [9, 5])
    for drawing, said, metres in ((small, "10 cm", 0.1), (large, "1 m", 1)):
        svg = drawing.svg(440)
        x1, y1, x2, y2 = map(
            float,
            re.search(
                r'<line x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="([\d.]+)"', svg
            ).groups(),
        )
        bar = float(re.search(r"M10 \d+h([\d.]+)", svg)[1])
        length = np.hypot(0.1, 0.05) if said == "10 cm" else np.hypot(9, 5)
        assert (
            f">{said}</text>" in svg
            and bar < 440
            and np.hypot(x2 - x1, y2 - y1) / bar == pytest.approx(length / metres, rel=0.01)
        )


def test_geometry_of_the_drawings() -> None:
    camera = Camera.from_fov(640, 480, 70)
    assert fan_of(camera.intrinsics, 640) == pytest.approx(70, abs=0.1)
    pose = np.eye(4)
    pose[:3, 3] = [1, 2, 3]
    assert camera_plane(pose)(np.array([2.0, 2, 7])).tolist() == [1, 4]
    room = RoomOutline(
        [],
        {
            1: OrientedBox(np.array([0, 0, 1.0]), np.array([1, 1, 0.0]), 0),
            2: OrientedBox(np.zeros(3), np.ones(3), 0),
        },
        {1: "flat", 2: "cube"},
    )
    assert draw_room(room, {2: ("#d3302a", "cube")}).svg().count("<polygon") == 2
    sheet = contact_sheet([Image.new("RGB", (40, 30), "blue")] * 3, {1: "#ff0000"}, width=40)
    assert (
        sheet.size == (3 * 44, 34)
        and sheet.getpixel((44, 29)) == (255, 0, 0)
        and sheet.getpixel((20, 25)) == (0, 0, 255)
    )
