"""`spar scenes list` and `spar scenes show`, as typed: every kind of source, counts that are true,
faults that are named, a page that opens offline."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from exporters.spar7m import write_release
from toys import Toys, busy_room

from spar_kit.cli.main import main
from spar_kit.cli.scenes import lines_of, summaries
from spar_kit.report.scene_report import LIMIT, check_depth, scene_page, write_scene_page
from spar_kit.scenes.box_room import box_room_scene
from spar_kit.scenes.geometry.depth_fusion import fuse_depth
from spar_kit.scenes.geometry.floor import floor_area
from spar_kit.scenes.geometry.rasterizer import render_depth_and_ids
from spar_kit.scenes.scene import Scene, SceneError
from spar_kit.scenes.summary import Summary, summarize

HOUSE = Path(__file__).parents[1].parent / "shared/data/small_house"
BROWSER = next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (path := shutil.which(name))
    ),
    None,
)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def spar(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as leaving:
            main(words)
        out, err = capsys.readouterr()
        return int(leaving.value.code or 0), out, err

    return run


def test_list_of_synthetic_rooms(spar: Run) -> None:
    code, out, _ = spar("scenes", "list", "synthetic", "--scenes", "2", "--split", "val", "--json")
    told = json.loads(out)
    assert (
        code == 0
        and len(told) == 2
        and all(
            s["frames"] == s["valid_poses"] > 20
            and s["instances"] > 10
            and 4 < s["floor_m2"] < 80
            and not s["error"]
            for s in told
        )
    )
    code, out, _ = spar("scenes", "list", "synthetic", "--scenes", "1")
    assert out.splitlines()[0].split() == [
        "scene",
        "frames",
        "poses",
        "objects",
        "floor",
        "m2",
        "warnings",
    ] and out.splitlines()[-1].startswith("1 of 1 scenes can be used")


@pytest.mark.skipif(not HOUSE.is_dir(), reason="the small house is not here")
def test_list_and_show_of_the_small_house(spar: Run, tmp_path: Path) -> None:
    code, out, _ = spar("scenes", "list", f"scannet:{HOUSE}", "--json")
    quick = {s["scene"]: s for s in json.loads(out)}
    assert code == 0 and len(quick) == 4
    _, out, _ = spar("scenes", "list", f"scannet:{HOUSE}", "--json", "--full", "--scenes", "1")
    (full,) = json.loads(out)
    assert (
        full["valid_poses"] == 59
        and full["warnings"][0] == "1 x frame: pose is not finite"
        and full["instances"] == 33
        and 30 < full["floor_m2"] < 60
    )
    assert 0 < full["incomplete"] < 12 and any(
        "no frame shows it whole" in line for line in full["warnings"]
    )
    assert quick[full["scene"]]["frames"] == full["frames"] == 60
    code, out, _ = spar(
        "scenes",
        "show",
        f"scannet:{HOUSE}",
        full["scene"],
        "--out",
        str(tmp_path / "house.html"),
        "--frames",
        "4",
    )
    text = (tmp_path / "house.html").read_text()
    assert (
        code == 0
        and out.strip() == str(tmp_path / "house.html")
        and "coffee table" in text
        and "No frame differs by more than 0.10 m." in text
    )


def test_list_and_show_of_spar7m(spar: Run, tmp_path: Path) -> None:
    room = busy_room("scene0000_00")
    write_release(
        tmp_path, room.with_frames(room.frames[:4]), count=1, tasks=("camera_motion_infer",)
    )
    (tmp_path / "spar/scannet/images/scene0000_00/pose/10.txt").unlink()
    code, out, _ = spar("scenes", "list", f"spar7m:{tmp_path}", "--json", "--quick")
    assert code == 0 and json.loads(out) == [
        {
            "scene": "scene0000_00",
            "frames": 4,
            "valid_poses": None,
            "instances": 0,
            "floor_m2": None,
            "incomplete": None,
            "warnings": ["1 x frame: its pose is missing"],
            "error": "",
        }
    ]
    code, out, _ = spar(
        "scenes", "show", f"spar7m:{tmp_path}", "scene0000_00", "--out", str(tmp_path / "page.html")
    )
    text = (tmp_path / "page.html").read_text()
    assert (
        code == 0
        and "frame: its pose is missing" in text
        and "Depth check" in text
        and "Red: visible in none" not in text
    )


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("list", "nowhere"), "unknown source"),
        (("list", "scannet:/no/such/folder"), "no such folder"),
        (("list", "synthetic", "--split", "test"), "neither train nor val"),
        (("list", "synthetic", "--scenes", "0"), "not a positive number"),
        (("show", "synthetic", "kitchen", "--out", "x.html"), "no scene 'kitchen'"),
        (("show", "synthetic", "train0000", "--out", "."), "is a folder"),
        (
            ("show", "synthetic", "train0000", "--out", "x.html", "--frames", "0"),
            "not a positive number",
        ),
        (("show", "synthetic", "train0001"), "--out"),
        (("list", "python:gone.py:x"), "gone.py: no such file"),
    ],
)
def test_bad_words_are_answered_with_one_line(
    spar: Run, words: tuple[str, ...], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = spar("scenes", *words)
    assert (
        code == 2
        and not out
        and reason in err
        and err.strip().count("\n") == 0
        and not list(tmp_path.iterdir())
    )


class Mixed(Toys):
    """Three scenes: one fine, one with things left out, one that cannot be read."""

    def load(self, scene: str) -> Scene:
        if scene == "cellar":
            raise SceneError("the mesh is\nmissing", "cellar/mesh.ply")
        toy = box_room_scene(6, name=scene)
        if scene == "attic":
            return toy
        return replace(toy, skipped={"frame: pose is not finite": 2, "object: has no label": 1})


def test_summaries_keep_the_order_and_tell_the_faults() -> None:
    told = summaries(
        Mixed(("kitchen", "cellar", "attic")), ["kitchen", "cellar", "attic"], progress=False
    )
    assert [(s.scene, s.frames, s.valid, s.instances) for s in told] == [
        ("kitchen", 8, 6, 8),
        ("cellar", None, None, None),
        ("attic", 6, 6, 8),
    ]
    assert (
        told[0].warnings == ("2 x frame: pose is not finite", "1 x object: has no label")
        and told[1].error == "cellar/mesh.ply: the mesh is missing"
    )
    lines = lines_of(told)
    assert (
        len(lines) == 5
        and "cannot be used: cellar/mesh.ply" in lines[2]
        and lines[4] == "2 of 3 scenes can be used: 14 frames, 16 objects"
    )
    assert lines_of([Summary(scene="a", frames=5, warnings=("x\x1b[2Jy",))])[1].split() == [
        "a",
        "5",
        "-",
        "-",
        "-",
        "x",
        "[2Jy",
    ]


def test_no_usable_scene_is_exit_code_1(spar: Run, tmp_path: Path) -> None:
    (tmp_path / "rooms.py").write_text(
        "from spar_kit.scenes.scene import SceneError\nclass R:\n name='r'\n def scenes(self,"
        " split=None): return ['a']\n def load(self, scene): raise SceneError('gone')\n def"
        " describe(self): return {}\n"
    )
    code, out, _ = spar("scenes", "list", f"python:{tmp_path}/rooms.py:R")
    assert code == 1 and "cannot be used: gone" in out and "0 of 1" in out


def test_a_quick_summary_is_not_loaded_unless_asked() -> None:
    class Quick(Mixed):
        def summary(self, scene: str) -> Summary:
            return Summary(scene=scene, frames=99)

    source = Quick(("attic",))
    assert (
        summarize(source, "attic").frames == 99
        and summarize(source, "attic", full=True).frames == 6
    )


def test_floor_area_with_and_without_polygons() -> None:
    toy = box_room_scene()
    assert floor_area(toy) == 20
    assert floor_area(replace(toy, floor=())) == pytest.approx(20, rel=0.01)
    assert (
        floor_area(
            replace(
                toy,
                floor=(
                    np.array([[0, 0], [2, 0], [2, 3]]),
                    np.array([[5, 5], [6, 5], [6, 6], [5, 6]]),
                ),
            )
        )
        == 4
    )


# ------------------------------------------------------------------------------------------------------------------  # noqa: E501
# the page


def test_depth_check_finds_scale_pose_and_unit() -> None:
    toy = box_room_scene(6, width=160)
    frame = toy.frames[2]
    good = check_depth(frame, toy.surface)
    assert (
        good.median < 0.002
        and good.within > 0.98
        and good.ratio == pytest.approx(1, abs=0.002)
        and good.both > 0.5
    )
    scaled = check_depth(
        replace(frame, read_depth=lambda: frame.read_depth() * np.float32(0.8)), toy.surface
    )
    assert scaled.median > LIMIT and scaled.ratio == pytest.approx(0.8, abs=0.01)
    moved = frame.camera_to_world.copy()
    moved[:3, 3] += moved[:3, 2] * 0.4
    assert check_depth(replace(frame, camera_to_world=moved), toy.surface).median > 0.2

    def broken() -> np.ndarray:
        raise SceneError("cannot be decoded", "7.png")

    assert (
        check_depth(replace(frame, read_depth=broken), toy.surface).fault
        == "7.png: cannot be decoded"
    )
    empty = check_depth(
        replace(
            frame, read_depth=lambda: np.zeros((frame.depth.height, frame.depth.width), np.float32)
        ),
        toy.surface,
    )
    assert empty.known == 0 and np.isnan(empty.median)


def test_a_page_tells_what_is_wrong() -> None:
    toy = box_room_scene(6)
    text = scene_page(
        replace(
            toy,
            frames=tuple(
                replace(f, read_depth=lambda f=f: f.read_depth() * np.float32(1.3))
                for f in toy.frames
            ),
            skipped={"frame: pose is not finite": 2},
        )
    )
    assert (
        "6 frames differ by more than 0.10 m" in text
        and "Depth is 1.30 times that of the surface" in text
        and "frame: pose is not finite" in text
    )


def test_depth_that_was_made_from_the_surface_confirms_nothing() -> None:
    """ScanNet++'s DSLR has no depth of its own; whole millimeters, as sensors' files have them, are
    a measurement."""
    toy = box_room_scene(3)
    made = replace(
        toy,
        frames=tuple(
            replace(
                f,
                read_depth=lambda f=f: render_depth_and_ids(
                    toy.surface, f.depth, f.camera_to_world
                )[0],
            )
            for f in toy.frames
        ),
    )
    measured = replace(
        made,
        frames=tuple(
            replace(
                f, read_depth=lambda f=f: np.rint(f.read_depth() * 1000).astype(np.float32) / 1000
            )
            for f in made.frames
        ),
    )
    assert "made from this surface, and confirm neither poses nor units" in scene_page(
        made
    ) and "made from this surface" not in scene_page(measured)
    assert "even where poses are wrong" in scene_page(
        replace(toy, surface=fuse_depth(toy.frames))
    ) and "even where poses are wrong" not in scene_page(toy)


EVIL = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    toy = box_room_scene(8, width=160)
    things = tuple(
        replace(thing, label=EVIL if thing.label == "table" else thing.label)
        for thing in toy.instances
    )
    return write_scene_page(
        replace(toy, instances=things, skipped={f"frame: {EVIL}": 1}, room_type=EVIL),
        tmp_path_factory.mktemp("page") / "scene.html",
        frames=5,
    )


def test_text_of_the_data_is_no_markup(page: Path) -> None:
    text = page.read_text()
    assert (
        EVIL not in text
        and "<img src=x" not in text
        and "&lt;img src=x onerror" in text
        and "http-equiv=refresh" not in text
    )


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_the_page_in_a_browser_without_network(page: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=BROWSER,
            args=[
                "--no-sandbox",
                "--use-gl=angle",
                "--use-angle=swiftshader",
                "--enable-unsafe-swiftshader",
            ],
        )
        tab = browser.new_page(viewport={"width": 1200, "height": 900})
        asked = []
        complaints = []

        def route(request: object) -> None:
            if request.request.url.startswith(("file:", "data:", "blob:")):
                request.continue_()
            else:
                asked.append(request.request.url)
                request.abort()

        tab.route("**/*", route)
        tab.on(
            "console",
            lambda message: complaints.append(message.text) if message.type == "error" else None,
        )
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("dialog", lambda dialog: (complaints.append("a dialog"), dialog.dismiss()))
        tab.goto(page.as_uri(), timeout=120_000, wait_until="commit")
        tab.wait_for_selector(".gl-container canvas", timeout=120_000)
        assert not asked and not complaints
        assert tab.locator(".js-plotly-plot").count() == 2 and tab.locator("table").count() == 3
        assert all(tab.evaluate("[...document.images].map(i => i.complete && i.naturalWidth > 50)"))
        assert tab.evaluate("document.documentElement.scrollWidth") <= 1200
        rows = tab.locator("table").last.locator("tbody tr")
        assert rows.count() == 8 and EVIL in rows.nth(3).inner_text()
        browser.close()
