"""The documentation: its examples run, its statements are the code's, its links lead somewhere, its
pages are made from what is there."""

import re
import subprocess
import sys
from importlib import util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spar_kit.bench.interop.prediction_files import read_predictions
from spar_kit.bench.scorers.table import overall, summarize_scores
from spar_kit.data.generate import generate
from spar_kit.language.answer_text import (
    SLOTS,
    format_meters,
    map_text,
    movement_text,
    relation_text,
)
from spar_kit.oracle.verify import verify
from spar_kit.scenes.box_room import box_room_scene
from spar_kit.scenes.readers.custom import import_source
from spar_kit.scenes.scene import Camera, OrientedBox, invert_pose, look_at
from spar_kit.scenes.sources import open_source
from spar_kit.tasks.frame_sets import yaw_pitch_roll
from spar_kit.tasks.registry import IMAGES_PER_VIEW, TASKS

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
PACKAGE = {
    path: path.read_text(encoding="utf-8")
    for path in (ROOT / "spar_kit").rglob("*.py")
    if path.name != "_modidx.py"
}


def by_path(path: Path):
    """A Python file that is part of no package."""
    spec = util.spec_from_file_location(path.stem, path)
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LINKS = by_path(ROOT / ".ci" / "links.py")


# ---- links
def test_links_of_readme_and_docs_lead_somewhere():
    faults = [
        fault
        for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs")
        for fault in LINKS.faults_of(ROOT / name)
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[a](there.md)", ""),
        ("[a](there.md#some-heading)", ""),
        ("[a](https://example.invalid/x)", ""),
        ("`[a](gone.md)`", ""),
        ("[a](gone.md)", "no such file: gone.md"),
        ("[a](there.md#gone)", "no such anchor: there.md#gone"),
        ("![a](gone.png)", "no such file: gone.png"),
    ],
)
def test_a_broken_link_in_markdown_is_found(tmp_path, text, fault):
    (tmp_path / "there.md").write_text("# Some heading\n")
    (tmp_path / "page.md").write_text(f"first\n\n{text}\n")
    found = LINKS.faults_of(tmp_path / "page.md")
    assert found == ([f"{tmp_path / 'page.md'}:3: {fault}"] if fault else [])


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="b.html#there">', ""),
        ('<a href="https://example.invalid/">', ""),
        ('<img src="data:image/png;base64,AA==">', ""),
        ('<a href="gone.html">', "no such file: gone.html"),
        ('<a href="b.html#gone">', "no such anchor: b.html#gone"),
        ('<img src="gone.png">', "no such file: gone.png"),
        (
            '<script src="https://example.invalid/a.js"></script>',
            "fetched from a server: https://example.invalid/a.js",
        ),
        (
            '<link rel="stylesheet" href="//example.invalid/a.css">',
            "fetched from a server: //example.invalid/a.css",
        ),
    ],
)
def test_a_broken_link_of_a_site_is_found(tmp_path, body, fault):
    (tmp_path / "a.html").write_text(body)
    (tmp_path / "b.html").write_text('<h2 id="there">')
    found = LINKS.faults_of(tmp_path)
    assert [text.partition(":1: ")[2] for text in found] == [fault] * bool(fault)
    done = subprocess.run(
        [sys.executable, str(ROOT / ".ci/links.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == bool(fault) and fault in done.stdout


def test_every_page_is_found_from_another():
    text = (ROOT / "CONTRIBUTING.md").read_text() + "".join(page.read_text() for page in PAGES)
    assert [page.name for page in PAGES if f"{page.name})" not in text] == []


# ---- code and names in the pages
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_in_a_page_is_that_of_its_example(page):
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S):
        where, code = re.fullmatch(r"# from (examples/\S+)\n(.*)", block, re.S).groups()
        assert code in (DOCS / where).read_text(), (
            f"{where} has changed; {page.name} shows something else"
        )


def names_in_tables(page: str) -> list[str]:
    """The first names in backticks in the first column of tables whose head is "what ..."."""
    tables = re.findall(r"^\| what[^\n]*\n\|[-|]+\n((?:\|.*\n)+)", (DOCS / page).read_text(), re.M)
    return [re.match(r"\| `([^`]+)`", row)[1] for table in tables for row in table.splitlines()]


def defined(name: str) -> list[Path]:
    """Modules that assign, define or bring a name at their top level; for a data file the file."""
    if "." in name:
        return list((ROOT / "spar_kit").rglob(name))
    return [
        path
        for path, text in PACKAGE.items()
        if re.search(rf"^(?:def |class )?{name}\b *(?:\(|:|=|\|=)", text, re.M)
    ]


@pytest.mark.parametrize("page", ["add-a-scorer.md"])
def test_what_a_page_tells_to_edit_is_there(page):
    names = names_in_tables(page)
    assert len(names) > 6 and [name for name in names if not defined(name)] == []


# ---- the examples
@pytest.fixture
def scans(tmp_path, monkeypatch):
    """A dataset in the form of examples/my_scans.py, made of a room of the kit, and that room."""
    import json

    room = box_room_scene(9, width=240)
    folder = tmp_path / "scans" / "kitchen"
    folder.mkdir(parents=True)
    cameras = {
        name: {"size": [camera.width, camera.height], "K": camera.intrinsics.tolist()}
        for name, camera in (("color", room.frames[0].color), ("depth", room.frames[0].depth))
    }
    boxes = [
        {
            "label": i.label,
            "center": i.box.center.tolist(),
            "size": i.box.size.tolist(),
            "yaw": float(i.box.yaw),
        }
        for i in room.instances
    ]
    (folder / "scene.json").write_text(json.dumps({"cameras": cameras, "boxes": boxes}))
    for k, frame in enumerate(room.frames):
        Image.fromarray(frame.read_color()).save(folder / f"{k}.jpg", quality=92)
        Image.fromarray((frame.read_depth() * 1000).round().astype(np.uint16)).save(
            folder / f"{k}.png"
        )
        np.savetxt(folder / f"{k}.txt", frame.camera_to_world)
    monkeypatch.setenv("SCANS", str(tmp_path / "scans"))
    yield folder, room
    import_source.cache_clear()


def test_the_reader_of_add_a_reader(scans, tmp_path):
    folder, room = scans
    source = open_source(f"python:{DOCS / 'examples/my_scans.py'}:MyScans")
    scene = source.load("kitchen")
    assert (
        source.scenes() == ["kitchen"]
        and len(scene.frames) == 9
        and len(scene.instances) == len(room.instances)
    )
    manifest = generate(
        source,
        tmp_path / "data",
        tasks="depth_prediction_oc,obj_spatial_relation_oo",
        per_task=3,
        progress=False,
    )
    report = verify(tmp_path / "data")
    assert report.ok and report.checked == manifest.records > 5


def test_the_reader_names_the_file_with_a_bad_pose(scans):
    folder, _ = scans
    (folder / "3.txt").write_text("1 0 0 0\n" * 4)
    with pytest.raises(Exception, match=r"3\.txt: expected 4 x 4 numbers"):
        open_source(f"python:{DOCS / 'examples/my_scans.py'}:MyScans").load("kitchen")


def test_the_scorer_of_add_a_scorer(tmp_path):
    answers = tmp_path / "answers.jsonl"
    answers.write_text(
        "".join(
            f'{{"id": "a_{k}", "task": "{task}", "answer": "{answer}", "prediction":'
            f" {prediction}}}\n"
            for k, (task, answer, prediction) in enumerate(
                [
                    ("obj_spatial_relation_oo", "A", '"The answer is A"'),
                    ("obj_spatial_relation_oo", "A", '"A or B"'),
                    ("obj_spatial_relation_oo", "A", "null"),
                    ("depth_prediction_oc", "2.4", '"it is 2.4"'),
                    (
                        "spatial_volume_infer",
                        "length is 3 cm, width is 2 cm, and height is 1 cm.",
                        '"1"',
                    ),
                ]
            )
        )
    )
    example = by_path(DOCS / "examples" / "last_word.py")
    table = example.score_last_word(read_predictions(answers))
    assert table.score.fillna(-1).tolist() == [1, 0, -1, 1, -1]
    assert (
        summarize_scores(table).set_index("task").score["obj_spatial_relation_oo"] == 0.5
        and overall(table)["all"] == 0.75
    )


# ---- docs/conventions.md
def test_conventions_of_geometry():
    camera = Camera.from_fov(4, 2, 90)
    assert camera.intrinsics[0, 2] == 1.5 and camera.to_permille(
        np.array([[-0.5, -0.5], [3.5, 1.5]])
    ).tolist() == [[0, 0], [1000, 1000]]
    small = camera.resized(2, 1)
    assert (
        small.intrinsics[0, 0] == camera.intrinsics[0, 0] / 2
        and small.intrinsics[0, 2] == (1.5 + 0.5) / 2 - 0.5
    )
    # looks along the world's y: its right is the world's x
    pose = look_at(np.array([1.0, 2, 3]), np.array([1.0, 9, 3]))
    assert (
        pose[:3, 3].tolist() == [1, 2, 3]
        and np.allclose(pose[:3, :3] @ [1, 0, 0], [1, 0, 0])
        and np.allclose(pose[:3, :3] @ [0, 1, 0], [0, 0, -1])
    )
    assert np.allclose(invert_pose(pose)[:3, 3], -pose[:3, :3].T @ [1, 2, 3]) and not np.allclose(
        invert_pose(pose)[:3, 3], [-1, -2, -3]
    )
    right_and_up = look_at(np.zeros(3), np.array([1.0, 9, 1]))
    (yaw, pitch, _), (straight, level, _) = yaw_pitch_roll(right_and_up), yaw_pitch_roll(pose)
    assert yaw > straight and pitch > level and abs(level) < 1e-9
    # its long side along the world's y, full lengths
    box = OrientedBox(np.zeros(3), np.array([4.0, 2, 1]), np.pi / 2)
    assert np.allclose(np.ptp(box.corners, axis=0), [2, 4, 1])
    assert camera.back_project(np.full((2, 4), 3.0))[..., 2].tolist() == [[3.0] * 4] * 2


def test_conventions_of_tasks():
    assert IMAGES_PER_VIEW == {"single": 1, "pair": 2, "multi": 3, "video": 32}
    assert {name for name, task in TASKS.items() if task.views == "pair"} == {
        "position_matching",
        "camera_motion_infer",
        "view_change_infer",
    }
    assert all(task.views == "multi" for name, task in TASKS.items() if name.endswith("_mv"))
    assert all(task.views == "video" for name, task in TASKS.items() if "_video" in name)
    assert [name for name, task in TASKS.items() if task.type != name] == ["nav_video"] and TASKS[
        "nav_video"
    ].type == "nav"


def test_conventions_of_answers():
    text = (DOCS / "conventions.md").read_text()
    shown = [
        format_meters(2.4),
        movement_text((0.6, 0.2, -0.4), (-30, -10)),
        relation_text((-1, 0, -1)),
        map_text([(-0.3, 1.4)]),
    ]
    assert [each for each in shown if f"`{each}`" not in text] == []
    assert movement_text((-0.05, 0, 0), (0, 0)).startswith("move_left:0,")
    for slot, name in zip(SLOTS, ("side", "height", "range", "facing")):
        assert f"| {name} | {slot[-1]} | | {slot[1]} |" in text


# ---- the site: what its hook makes of the tree. The build itself is `make docs`, which needs tools
# of its own
def test_the_site_names_no_module_and_fetches_nothing():
    config = (ROOT / "mkdocs.yml").read_text()
    assert "font: false" in config and "nav:" not in config and "http" not in config
    assert not re.search(r"nbs/\w+/\d", (ROOT / ".ci/site.py").read_text())


def test_the_tools_of_the_site_are_locked():
    from packaging.requirements import Requirement

    wanted = re.search(r"^docs = \[(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.M | re.S)[1]
    locked = dict(
        re.findall(r"^([a-z0-9-]+)==([\w.]+)", (ROOT / "requirements/docs.txt").read_text(), re.M)
    )
    for requirement in map(Requirement, re.findall(r'^ *"([^"]+)"', wanted, re.M)):
        assert requirement.specifier.contains(locked[requirement.name]), requirement
