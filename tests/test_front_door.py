"""`import spar_kit as sk`: light, without torch, and all that the README shows of it; `Question`
and `ask`; what JupyterLab shows."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops
from test_hostile_pages import EVIL
from toys import busy_room

import spar_kit as sk
from spar_kit.data.generate import generate
from spar_kit.data.question import CARD_BYTES, Question, Questions, facts_in_words, few_of
from spar_kit.data.records import RecordError, list_shards, load_images, read_json_records
from spar_kit.scenes.box_room import box_room_scene
from spar_kit.scenes.scene import Scene, SceneError

ROOT = Path(__file__).resolve().parent.parent
NAMES = [
    "TASKS",
    "Question",
    "Scene",
    "ask",
    "generate",
    "open_benchmark",
    "open_source",
    "score",
    "verify",
]
# every number of images, points, boxes, lists of either, letters, judgements and sentences
ASKED = {
    "depth_prediction_oc": "fill",
    "obj_spatial_relation_oo": "judge",
    "position_matching": "select",
    "distance_prediction_oo_mv": "fill",
    "obj_frame_locate": "sentence",
    "distance_infer_center_oo_video": "select",
    "camera_motion_infer": "fill",
}
EACH = 3


def printed(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# ---- the front door
def test_the_import_alone_loads_nothing_heavy() -> None:
    heavy = set(
        "numpy scipy pandas numba PIL orjson plotly torch yaml pydantic typer rich typing".split()
    )
    code = (
        f"import sys\nbefore = set(sys.modules)\nimport spar_kit\nprint(*({heavy} &"
        " (sys.modules.keys() - before)), *(m for m in sys.modules if m.startswith('spar_kit.')))"
    )
    assert printed(code) == ""


def test_no_name_loads_torch_and_each_is_what_it_says() -> None:
    code = (
        f"import sys, spar_kit as sk\nfor name in {NAMES}: getattr(sk, name)\nprint(*({{'torch',"
        " 'transformers', 'peft', 'bitsandbytes', 'plotly'} & sys.modules.keys()))"
    )
    assert printed(code) == ""
    assert (
        sk.__all__ == NAMES
        and {*NAMES, "__version__"} <= {*dir(sk)}
        and "TYPE_CHECKING" not in dir(sk)
    )
    assert (
        sk.Scene is Scene
        and sk.Question is Question
        and sk.generate is generate
        and len(sk.TASKS) == 35
    )
    from spar_kit.bench.benchmarks import open_benchmark
    from spar_kit.bench.scorers.table import score_file
    from spar_kit.data.ask import ask
    from spar_kit.oracle.verify import verify
    from spar_kit.scenes.sources import open_source

    assert (sk.ask, sk.open_benchmark, sk.open_source, sk.score, sk.verify) == (
        ask,
        open_benchmark,
        open_source,
        score_file,
        verify,
    )


def test_another_name_is_an_error_that_lists_those_there_are() -> None:
    with pytest.raises(AttributeError, match="'spar_kit' has no attribute 'generat'.*generate"):
        sk.generat  # noqa: B018
    with pytest.raises(ImportError):
        exec("from spar_kit import nothing_of_that_name")


def test_type_checkers_see_what_is_imported() -> None:
    """The front door is written twice: for type checkers, and as the table from which names are
    imported."""
    tree = ast.parse((ROOT / "spar_kit" / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname: (node.module, alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == sk._PLACES and sorted(seen) == sorted(NAMES)


def test_nbdev_changes_the_version_line_only() -> None:
    from nbdev.config import update_version

    path = ROOT / "spar_kit" / "__init__.py"
    before = path.read_text()
    update_version()
    assert path.read_text() == before and len(re.findall(r"^__version__\s*=", before, re.M)) == 1


def section(title: str) -> list[dict[str, Any]]:
    """The cells of the README's notebook below a heading, up to the next one."""
    found: list[dict[str, Any]] = []
    inside = False
    for cell in json.loads((ROOT / "nbs" / "index.ipynb").read_text())["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown" and text.startswith("## "):
            inside = text.startswith(f"## {title}\n")
        if inside:
            found.append(cell)
    return found


def test_the_first_code_of_the_readme_works_and_its_outputs_are_true() -> None:
    cells = section("In Python")
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    readme = (ROOT / "README.md").read_text()
    assert readme.index("```python") == readme.index("```python\n" + "".join(code[0]["source"]))
    names: dict[str, Any] = {}
    for cell in code:
        *lines, last = "".join(cell["source"]).split("\n")
        exec("\n".join(lines), names)
        shown = eval(last, names)
        [output] = cell["outputs"]
        assert "".join(output["data"]["text/plain"]) == repr(shown)
        assert len(json.dumps(output)) < 200_000
    assert "application/vnd.plotly.v1+json" in code[0]["outputs"][0][
        "data"
    ] and "data:image/jpeg" in "".join(code[1]["outputs"][0]["data"]["text/html"])
    text = "".join("".join(cell["source"]) for cell in cells) + (sk.__doc__ or "")
    assert {name for name in re.findall(r"\bsk\.(\w+)", text)} <= {*NAMES}
    assert {"open_source", "ask", "generate", "verify", "score", "open_benchmark", "TASKS"} <= {
        *re.findall(r"\bsk\.(\w+)", text)
    }


# ---- ask
@pytest.fixture(scope="module")
def room() -> Scene:
    return busy_room("room_00")


@dataclass(frozen=True)
class One:
    """A source of one scene."""

    scene: Scene
    name: str = "synthetic"

    def scenes(self, split: str | None = None) -> list[str]:
        return [self.scene.name]

    def load(self, scene: str) -> Scene:
        return self.scene

    def describe(self) -> dict[str, Any]:
        return {"kind": "one"}


@pytest.fixture(scope="module")
def written(
    room: Scene, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], list[tuple[dict[str, Any], Path]]]:
    """What `generate` writes: the records of each task and format, with the folder of their
    images."""
    folder = tmp_path_factory.mktemp("door") / "data"
    generate(One(room), folder, tasks=list(ASKED), per_task=EACH, seed=5, progress=False)
    return {
        (task, form): [(record, root) for record in read_json_records(path)]
        for path, task, form, root in list_shards(folder)
    }


Written = dict[tuple[str, str], list[tuple[dict[str, Any], Path]]]


def equal(a: Image.Image, b: Image.Image) -> bool:
    return (
        a.size == b.size
        and ImageChops.difference(a.convert("RGB"), b.convert("RGB")).getbbox() is None
    )


@pytest.mark.parametrize(("task", "form"), ASKED.items(), ids=list(ASKED))
def test_ask_makes_what_generate_writes(
    room: Scene, written: Written, task: str, form: str
) -> None:
    asked = sk.ask(room, task=task, n=EACH, format=form, seed=5)
    rows = written[task, form]
    assert len(asked) == len(rows) > 0
    for question, (record, root) in zip(asked, rows):
        # a record's number counts those of the tasks before it
        made = {**question.to_record(), "id": record["id"]}
        assert made == record and list(made) == list(record)
        which = [0, len(question.images) - 1]
        from_files = load_images(record, root)
        drawn = question.load()
        assert len(drawn) == len(from_files) and all(equal(drawn[k], from_files[k]) for k in which)


def test_ids_are_those_of_generate_for_the_same_task(room: Scene, tmp_path: Path) -> None:
    generate(
        One(room),
        tmp_path / "data",
        tasks="depth_prediction_oc",
        per_task=EACH,
        seed=5,
        progress=False,
    )
    records = {
        form: list(read_json_records(path)) for path, _, form, _ in list_shards(tmp_path / "data")
    }
    for form in ("fill", "select", "sentence"):
        assert [
            q.to_record() for q in sk.ask(room, "depth_prediction_oc", EACH, form, seed=5)
        ] == records[form]


def test_another_seed_asks_something_else(room: Scene) -> None:
    first, second = (sk.ask(room, "depth_prediction_oc", EACH, seed=seed) for seed in (5, 6))
    assert [q.text for q in first] != [q.text for q in second]


def test_by_default_the_first_format_is_asked(room: Scene) -> None:
    assert {q.format for q in sk.ask(room, "depth_prediction_oc")} == {"fill"} and {
        q.format for q in sk.ask(room, "obj_spatial_relation_oo")
    } == {"select"}


@pytest.mark.parametrize(
    ("task", "given", "message"),
    [
        ("depth_predicton_oc", {}, "did you mean 'depth_prediction_oc'"),
        ("depth_prediction_oc", {"format": "filll"}, "did you mean 'fill'"),
        (
            "obj_spatial_relation_oo",
            {"format": "fill"},
            "obj_spatial_relation_oo has no format 'fill'; it has select, sentence, judge",
        ),
        ("all", {}, "one task at a time"),
        ("depth_prediction_oc,obj_count", {}, "one task at a time"),
        ("depth_prediction_oc", {"n": 0}, "at least 1"),
    ],
)
def test_what_cannot_be_asked_is_said(
    room: Scene, task: str, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        sk.ask(room, task, **given)


def test_a_source_is_no_scene() -> None:
    with pytest.raises(TypeError, match="expected a Scene.*found a str"):
        sk.ask("synthetic", "depth_prediction_oc")  # type: ignore[arg-type]


def test_a_scene_with_nothing_to_ask_says_why(room: Scene) -> None:
    with pytest.raises(
        SceneError,
        match=(
            r"synthetic/room_00: 0 of 2 questions appearance_order \(fill\): .*fewer than 32 frames"
        ),
    ):
        sk.ask(room.with_frames(room.frames[:4]), "appearance_order", n=2)
    with pytest.raises(SceneError, match="room_00: no usable frame"):
        sk.ask(room.with_frames(()), "depth_prediction_oc")


def test_fewer_than_asked_for_are_counted_with_the_reasons(room: Scene) -> None:
    many = sk.ask(room, "obj_count", n=500)
    assert (
        0 < len(many) < 500
        and many.note.startswith(f"{len(many)} of 500 questions obj_count (fill)")
        and many.note in repr(many)
    )
    assert sk.ask(room, "depth_prediction_oc", n=2).note == ""


# ---- Question
def test_a_record_goes_in_and_comes_out(written: Written) -> None:
    for (task, form), rows in written.items():
        for record, root in rows:
            question = Question.from_record(record, root, source="synthetic")
            assert question.to_record() == record and list(question.to_record()) == list(record)
            assert question.key == (task, form, record["id"]) and question.scene == "room_00"
            assert bool(question.options) == (form == "select") and question.marks == question.marks


def test_images_are_read_when_they_are_wanted(written: Written, tmp_path: Path) -> None:
    [(record, root), *_] = written["depth_prediction_oc", "fill"]
    question = Question.from_record(record, root)
    assert equal(question.load()[0], load_images(record, root)[0]) and equal(
        question.load(marked=False)[0], load_images(record, root, marked=False)[0]
    )
    missing = Question.from_record(record, tmp_path)
    with pytest.raises(FileNotFoundError, match="the image is missing"):
        missing.load()
    assert (
        "its images cannot be shown" in missing._repr_html_()
        and question.answer in missing._repr_html_()
    )


def test_a_row_of_spar_7m_has_its_format_from_its_folder_and_may_go_on() -> None:
    turns = [
        {"from": who, "value": value}
        for who, value in (
            ("human", "How far?"),
            ("gpt", "1.5"),
            ("human", "And now?"),
            ("gpt", "2"),
        )
    ]
    row = {
        "id": "scene0000_00_1",
        "conversations": turns,
        "image": ["scene0000_00/image_color/1.jpg"],
        "type": "nav",
        "red_point": [[1, 2]],
    }
    question = Question.from_record(row, "images", format="fill", source="scannet")
    assert (question.task, question.format, question.later, question.facts, question.why) == (
        "nav_video",
        "fill",
        (("And now?", "2"),),
        {},
        (),
    )
    assert question.to_record() == row


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"image": ["../secret.jpg"]}, "image"),
        ({"facts": [1]}, "facts"),
        ({"red_point": "x"}, "red_point"),
        ({"id": 7}, "id"),
        (
            {
                "conversations": [
                    {"from": "human", "value": "a"},
                    {"from": "gpt", "value": "b"},
                    {"from": "human", "value": "c"},
                ]
            },
            "conversations",
        ),
    ],
)
def test_what_is_wrong_with_a_record_is_said_by_field(
    written: Written, change: dict[str, Any], field: str
) -> None:
    record, root = written["depth_prediction_oc", "fill"][0]
    with pytest.raises(RecordError) as caught:
        Question.from_record({**record, **change}, root)
    assert caught.value.field == field


def test_a_question_is_frozen_and_takes_names_only() -> None:
    with pytest.raises(TypeError):
        Question("1", "obj_count", "fill", "s", (), "How many?", "2")  # type: ignore[misc]
    question = Question(
        id="1",
        task="obj_count",
        format="fill",
        scene="s",
        images=(Image.new("RGB", (4, 4)),),
        text="How many?",
        answer="2",
    )
    with pytest.raises(FrozenInstanceError):
        question.answer = "3"  # type: ignore[misc]
    with pytest.raises(ValueError, match="no paths"):
        question.to_record()
    assert question.load()[0].size == (4, 4)


# ---- what is shown
class Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))


def noisy(size: tuple[int, int] = (640, 480)) -> Image.Image:
    return Image.effect_noise(size, 90).convert("RGB")


def texts() -> Iterator[str]:
    yield from EVIL
    yield "".join(EVIL)


@pytest.mark.parametrize("text", texts())
def test_no_text_becomes_an_element(text: str) -> None:
    facts = {"objects": [1, 2], "distance": [1.5]}
    plain = Question(
        id="1",
        task="obj_count",
        format="fill",
        scene="s",
        images=(Image.new("RGB", (8, 8)),),
        text="a",
        answer="b",
        facts=facts,
        labels=("chair", "lamp"),
    )
    hostile = replace(
        plain,
        id=text,
        format=text,
        text=text,
        answer=text,
        labels=(text, text),
        facts={**facts, "distance": text},
    )
    shown = hostile._repr_html_()
    assert Elements(shown).found == Elements(plain._repr_html_()).found
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown + repr(hostile)
    )
    unknown = replace(plain, task=text, images=(Path(f"/{text[:40]}\x01.jpg"),))
    assert {tag for tag, _ in Elements(unknown._repr_html_()).found} <= {
        "div",
        "b",
        "details",
        "summary",
        "ul",
        "li",
    }
    assert "<script" not in Questions([plain], note=text)._repr_html_() and "\n" not in repr(
        hostile
    )


@pytest.mark.parametrize("count", [1, 2, 3, 32])
def test_a_card_stays_small_whatever_the_pictures(count: int) -> None:
    marks = {
        "bbox_list": [[[100, 100, 300, 300]] * 5],
        "bbox_img_idx": [[k % count for k in (1, 5, 9, 11, 30)]],
    }
    question = Question(
        id="1",
        task="spatial_imagination_map_mv",
        format="sentence",
        scene="s",
        images=(noisy,) * count,
        text="<" * 9000,
        answer="x",
        markers=marks,
    )
    shown = question._repr_html_()
    assert len(shown.encode()) < CARD_BYTES < 150_000 and shown.count("<img") == (
        count if count <= 3 else 5
    )
    assert (
        len(Questions([question] * 9)._repr_html_().encode()) < 3 * CARD_BYTES
        and "and 3 more" in Questions([question] * 9)._repr_html_()
    )


def test_of_a_video_only_what_is_shown_is_read() -> None:
    read = []

    def frame(k: int) -> Any:
        return lambda: (read.append(k), Image.new("RGB", (64, 48)))[1]

    question = Question(
        id="1",
        task="obj_frame_locate",
        format="sentence",
        scene="s",
        images=tuple(map(frame, range(32))),
        text="a",
        answer="b",
        markers={"red_bbox": [[1, 1, 9, 9]], "bbox_img_idx": [[7]]},
    )
    assert "Frame-7" in question._repr_html_() and read == [0, 7, 10, 21] == few_of(32, [7])


def test_the_card_of_a_question_shows_all_that_is_promised(room: Scene) -> None:
    question = sk.ask(room, "depth_prediction_oc", n=2, format="select", seed=5)[0]
    shown = question._repr_html_()
    assert (
        question.labels[0] in " ".join(question.why)
        and "objects: " in shown
        and f"answer <b>{question.answer}</b>" in shown
    )
    right = question.options["ABCD".index(question.answer)]
    assert f"<b>{question.answer}. {right}</b>" in shown and "data:image/jpeg;base64," in shown
    assert facts_in_words({"objects": [0, 3], "answer": 1.23456, "view": [0]}, ("", "sofa")) == (
        "objects: sofa (id 3)",
        "answer: 1.235",
    )


def test_a_scene_shows_itself_in_3d_and_is_small() -> None:
    scene = sk.open_source("synthetic", frames=4, width=64).load("train0000")
    shown = scene._repr_mimebundle_()
    figure = shown["application/vnd.plotly.v1+json"]
    assert set(shown) == {"text/plain", "application/vnd.plotly.v1+json"} and shown[
        "text/plain"
    ] == repr(scene)
    assert {trace["type"] for trace in figure["data"]} == {"mesh3d", "scatter3d"} and 50_000 < len(
        json.dumps(shown)
    ) < 200_000


def test_plotly_is_imported_when_somebody_looks() -> None:
    code = (
        "import sys\nfrom spar_kit.scenes.box_room import box_room_scene\nscene ="
        " box_room_scene(frames=1, width=32)\nrepr(scene); print('plotly' in"
        " sys.modules)\nscene._repr_mimebundle_(); print('plotly' in sys.modules)"
    )
    assert printed(code).split() == ["False", "True"]


def test_an_empty_scene_shows_itself() -> None:
    scene = box_room_scene(frames=1, width=32)
    assert (
        replace(scene, frames=(), instances=())
        ._repr_mimebundle_()["text/plain"]
        .startswith("Scene(")
    )


# ---- sources by name
def test_generate_takes_a_source_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="did you mean 'synthetic'"):
        sk.generate("sythetic", tmp_path / "out")
    with pytest.raises(SceneError, match="no such folder"):
        sk.generate(f"scannet:{tmp_path / 'nowhere'}", tmp_path / "out")
