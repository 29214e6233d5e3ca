"""Every page that is not made of a notebook, fed with what labels, questions, answers and names can
hold: it stays text, and the page stays as wide as the window."""

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from spar_kit.bench.baselines.audit import Audit, BaselineScore, TaskAudit
from spar_kit.core.display_text import caption_of, escape_controls, flat_label, solid_label
from spar_kit.data.generate import generate
from spar_kit.report.audit_report import audit_page as audit_page
from spar_kit.report.audit_report import write_audit
from spar_kit.report.gallery import build_gallery
from spar_kit.report.scene_report import write_scene_page
from spar_kit.report.score_report import write_score_report
from spar_kit.scenes.box_room import box_room_scene
from spar_kit.scenes.sources import open_source
from spar_kit.scenes.viewer import plot_floor_plan, plot_scene

BROWSER = next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (path := shutil.which(name))
    ),
    None,
)
ASKED = ("depth_prediction_oc", "obj_spatial_relation_oo", "obj_frame_locate")
EVIL = [
    '<script>document.title="owned"</script>',
    '"><img src=http://127.0.0.1:9/x.png onerror=document.title="owned">',
    "'><svg onload=alert(1)>",
    "</title></style></script><iframe src=//evil>",
    "w" * 2500,
    "a\u202eb\u2066c\u200bd",
    "bell\x00\x07\x1b[31m\x85end",
    "&lt;b&gt;",
    "%{x} <b>bold</b>",
    "x" * 40 + "\n" + "y" * 40,
]
TEXTS = ("chair", "".join(text for text in EVIL if text[:9] != "w" * 9), "w" * 2500)
KINDS = ("gallery", "scene", "audit", "compare")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "data"
    generate(
        open_source("synthetic", scenes=1, seed=3, frames=12),
        folder,
        tasks=",".join(ASKED),
        per_task=6,
        progress=False,
    )
    return folder


def gallery_of(text: str, data: Path, home: Path) -> Path:
    shutil.copytree(data, home / "data")
    for path in (home / "data").glob("spar/*/images/*/instances.json"):
        document = json.loads(path.read_text())
        for k, thing in enumerate(document["instances"]):
            thing["label"] = f"{text}{k}"
        path.write_text(json.dumps(document))
    for path in (home / "data").glob("spar/*/qa_jsonl/*/*/*/*.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for k, row in enumerate(rows):
            row["id"] = f"{k}{text}"
            for turn in row["conversations"]:
                turn["value"] += text
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return build_gallery(str(home / "data"), home / "page", tasks=",".join(ASKED), each=2)[0]


def scene_of(text: str, data: Path, home: Path) -> Path:
    scene = box_room_scene()
    things = tuple(replace(thing, label=f"{text}{k}") for k, thing in enumerate(scene.instances))
    return write_scene_page(
        replace(
            scene,
            instances=things,
            name=f"n{text}"[:60],
            room_type=text,
            skipped={f"frame: {text}": 2},
        ),
        home / "scene.html",
        frames=2,
    )


def audit_of(text: str, data: Path, home: Path) -> Path:
    attack = BaselineScore(f"always {text}", 0.4, 0.35, 0.45)
    return write_audit(
        Audit(
            folder=text,
            findings=(
                TaskAudit(
                    task=text,
                    format=text,
                    kind="letter",
                    items=100,
                    scenes=10,
                    chance=0.25,
                    limit=0.30,
                    best=attack,
                    attacks=(attack, attack),
                    with_marks=attack,
                ),
            ),
            left_out={text: text},
        ),
        home / "audit",
    )[1]


def compare_of(text: str, data: Path, home: Path) -> Path:
    for name, right in (("one", 5), ("two", 3)):
        rows = [
            dict(
                id=f"{k}{text}",
                task=("position_matching", "depth_prediction_oc")[k % 2],
                format=("select", "fill")[k % 2],
                question=f"{text} Where?\nA. x\nB. {text}",
                answer=("A", "1.5")[k % 2],
                prediction=("A", "1.5")[k % 2] if k % 6 < right else text,
                source=f"s{k % 3}{text}",
                scene=f"room{k % 4}",
            )
            for k in range(48)
        ]
        stem = re.sub(r"[/\x00]", "", text)[:60] + name
        (home / f"{stem}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return write_score_report(sorted(home.glob("*.jsonl")), home / "page.html", misses=20)[1]


MADE = {"gallery": gallery_of, "scene": scene_of, "audit": audit_of, "compare": compare_of}


class Elements(HTMLParser):
    """The elements of a page with the names of their attributes, in order; texts and values are
    left out."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.urls: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag != "wbr":
            self.found.append((tag, tuple(sorted(name for name, _ in attrs))))
        self.urls += [
            value or ""
            for name, value in attrs
            if name in ("src", "href", "srcset", "action", "data", "poster")
        ]


@pytest.fixture(scope="module")
def pages(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Each kind of page with each text; the first text is harmless."""
    return {
        (kind, text): MADE[kind](text, data, tmp_path_factory.mktemp("page"))
        for kind in KINDS
        for text in TEXTS
    }


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_becomes_an_element(pages: dict[tuple[str, str], Path], kind: str) -> None:
    plain = Elements(pages[kind, "chair"].read_text())
    for (made, text), path in pages.items():
        if made != kind:
            continue
        shown = path.read_text()
        hostile = Elements(shown)
        # there a long answer or an unread one makes other rows
        if kind != "compare":
            assert hostile.found == plain.found, text
        assert {tag for tag, _ in hostile.found} <= {tag for tag, _ in plain.found} | {
            "details",
            "summary",
            "li",
            "ul",
        }, text
        assert not any(name.startswith("on") for _, names in hostile.found for name in names)
        assert all(
            url.startswith(("data:image/", "#", "pictures/")) or url in plain.urls
            for url in hostile.urls
        ), text
        assert not re.search(
            "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]",
            re.sub(r"<script.*?</script>", "", shown, flags=re.S),
        ), text


@pytest.mark.parametrize("kind", KINDS)
def test_a_policy_comes_before_anything_that_could_load(
    pages: dict[tuple[str, str], Path], kind: str
) -> None:
    text = pages[kind, "chair"].read_text()
    assert text.index("Content-Security-Policy") < min(
        text.index(word)
        for word in ("<style", "<script", "<img", "<link", "<title", "<body")
        if word in text
    )
    assert "default-src 'none'" in text and "http" not in text[
        text.index("Content-Security-Policy") :
    ].split(">")[0].replace("http-equiv", "")


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_pages_are_no_wider_than_the_window_and_run_nothing(
    pages: dict[tuple[str, str], Path],
) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        for (kind, text), path in pages.items():
            if text == "chair":
                continue
            tab = browser.new_page(viewport={"width": 1280, "height": 800})
            said = []
            asked = []
            tab.on(
                "dialog", lambda dialog, said=said: (said.append(dialog.message), dialog.dismiss())
            )
            tab.on("pageerror", lambda error, said=said: said.append(str(error)))
            tab.on(
                "request",
                lambda request, asked=asked: (
                    asked.append(request.url)
                    if not request.url.startswith(("file:", "data:", "blob:"))
                    else None
                ),
            )
            tab.goto(path.as_uri(), timeout=120_000)
            for width in (1280, 760):
                tab.set_viewport_size({"width": width, "height": 800})
                wide, window = tab.evaluate(
                    "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
                )
                assert wide <= window, (kind, text[:30], width, wide)
            assert (
                [word for word in said if "WebGL" not in word] == []
                and asked == []
                and tab.title() != "owned"
            ), (kind, text[:30])
            tab.close()
        browser.close()


def test_names_in_figures_are_escaped_once_where_plotly_reads_entities_and_never_where_it_does_not() -> (  # noqa: E501
    None
):
    """The labels of a 3D scene are drawn by WebGL, which shows `&lt;` as it is."""
    scene = box_room_scene()
    named = replace(
        scene, instances=tuple(replace(thing, label="<b>a</b> & b") for thing in scene.instances)
    )
    solid = plot_scene(named)
    beside = [
        text
        for trace in solid.data
        if trace.type == "scatter3d" and trace.text
        for text in trace.text
        if text
    ]
    assert (
        beside
        and not any("&lt;" in text or "<b>" in text for text in beside)
        and {text.replace("\u2060", "") for text in beside} == {"<b>a</b> & b"}
    )
    mouse = [
        text
        for trace in solid.data
        if trace.type == "scatter3d" and trace.name == "names"
        for text in trace.hovertext
    ]
    assert mouse and all(text.startswith("&lt;b&gt;a&lt;/b&gt; &amp; b (id ") for text in mouse)
    flat = [
        text
        for trace in plot_floor_plan(named).data
        if trace.mode == "text"
        for text in trace.text
        if text
    ]
    assert flat and set(flat) == {"&lt;b&gt;a&lt;/b&gt; &amp; b"}


def test_what_cannot_be_seen_is_shown_and_what_is_long_is_cut() -> None:
    assert (
        escape_controls("a\x00b\u202ec\x85") == "a⟨0⟩b⟨202E⟩c⟨85⟩"
        and escape_controls("xy" * 300, 10) == "xyxyxyxyxy … (600 characters)"
    )
    assert (
        len(caption_of("w" * 2500)) == 34
        and caption_of("a\n b\x07") == "a b"
        and caption_of("chair") == "chair"
    )
    assert flat_label("a<b") == "a&lt;b" and solid_label("a<b").replace("\u2060", "") == "a<b"


def test_an_audit_without_findings_is_a_page() -> None:
    assert "Too little data" in audit_page(
        Audit(folder="x", findings=(), left_out={"a/select": "one question only"})
    )
