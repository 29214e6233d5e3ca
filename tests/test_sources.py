"""What one may type as SOURCE."""

import json
import re
from pathlib import Path

import pytest

from spar_kit.data.generate import generate
from spar_kit.scenes.scene import SceneError
from spar_kit.scenes.sources import open_source


def test_synthetic() -> None:
    source = open_source("synthetic", scenes=3, seed=5, frames=6)
    assert source.name == "synthetic" and len(source.scenes("train")) == 3
    assert source.describe()["seed"] == 5 and source.describe()["frames"] == 6
    assert open_source("synthetic") == open_source("synthetic", seed=0)


def test_pictures_of_synthetic_rooms_have_a_size_at_which_the_released_scripts_are_usable() -> None:
    size = lambda **given: (lambda told: (told["width"], told["height"]))(  # noqa: E731
        open_source("synthetic", **given).describe()
    )  # noqa: E731, RUF100
    assert size() == (640, 480), (
        "the discs of 20 pixels of SPAR's own scripts hide much of what they mark on 320 x 240"
    )
    assert size(width=320) == size(height=240) == (320, 240) and size(width=800, height=450) == (
        800,
        450,
    )
    for given in (
        {"width": 0},
        {"height": -3},
        {"width": 100_000},
        {"width": 31, "height": 64},
        {"width": 4096, "height": 5000},
    ):
        with pytest.raises(ValueError, match="32 to 4,096 pixels"):
            open_source("synthetic", **given)
    with pytest.raises(ValueError, match="for synthetic rooms"):
        open_source("scannet:anywhere", width=640)


def test_the_size_of_the_pictures_changes_no_question_without_marks(tmp_path: Path) -> None:
    """Boxes are measured, and discs must fit, at the pictures' own size; what marks nothing is the
    same question at any size."""
    tasks = "depth_prediction_oc,distance_prediction_oo,obj_spatial_relation_oo,position_matching,view_change_infer"  # noqa: E501
    made = []
    for width in (320, 640):
        generate(
            open_source("synthetic", scenes=1, seed=4, frames=8, width=width),
            tmp_path / str(width),
            tasks=tasks,
            per_task=6,
            progress=False,
        )
        made.append(
            {
                path.relative_to(tmp_path / str(width)): path.read_bytes()
                for path in (tmp_path / str(width)).rglob("*.jsonl")
            }
        )
    plain = [
        {path: lines for path, lines in files.items() if "view_change_infer" in path.parts}
        for files in made
    ]
    assert {path.parent for path in made[0]} == {path.parent for path in made[1]}
    assert (
        plain[0]
        and [*plain[0].values()][0].count(b"\n") == [*plain[1].values()][0].count(b"\n") > 0
    )
    without_ids = [
        [{**json.loads(line), "id": ""} for lines in files.values() for line in lines.splitlines()]
        for files in plain
    ]
    assert without_ids[0] == without_ids[1]


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("syntetic", "'synthetic'"),
        ("Synthetic", "'synthetic'"),
        ("scanet:/x", "'scannet:/x'"),
        ("", "scannet:PATH"),
        ("habitat", "scannet:PATH"),
        ("scannet", "scannet:PATH"),
        ("scannet:", "scannet:PATH"),
        ("synthetic:/tmp", "no path"),
    ],
)
def test_a_wrong_spec_is_one_clear_line(spec: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint) as caught:
        open_source(spec)
    assert "\n" not in str(caught.value)


def test_a_folder_without_its_kind(tmp_path) -> None:
    with pytest.raises(ValueError, match="scannet:"):
        open_source(str(tmp_path))


def test_missing_folder_and_bad_numbers(tmp_path) -> None:
    with pytest.raises(SceneError, match="no such folder"):
        open_source(f"scannet:{tmp_path / 'absent'}")
    for number in ({"scenes": 0}, {"frames": -1}):
        with pytest.raises(ValueError, match="at least 1"):
            open_source("synthetic", **number)


def test_scannet(tmp_path) -> None:
    source = open_source(f"scannet:{tmp_path}", scenes=2, frames=5)
    assert source.name == "scannet"
    with pytest.raises(SceneError):
        source.scenes()


def test_small_house() -> None:
    folder = Path(__file__).resolve().parents[2] / "shared" / "data" / "small_house"
    if not folder.is_dir():
        pytest.skip("the small house is not here")
    source = open_source(f"scannet:{folder}", scenes=1, frames=4)
    names = source.scenes()
    assert len(names) == 1 and len(source.load(names[0]).frames) == 4


@pytest.mark.parametrize(
    "name",
    [
        "scenes/readers/scannet/30_reader",
        "scenes/readers/scannetpp/30_reader",
        "scenes/readers/structured3d/10_reader",
        "scenes/readers/00_arkitscenes",
        "scenes/readers/10_spar7m",
    ],
)
def test_a_datasets_page_says_what_one_needs_to_know(name: str) -> None:
    """Where to get it, under which terms, what is read, what is not, and what a first run prints,
    with the output of that run."""
    cells = json.loads((Path(__file__).resolve().parents[1] / "nbs" / f"{name}.ipynb").read_text())[
        "cells"
    ]
    text = "\n".join(
        "".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"
    ).lower()
    for words in (
        ("http", "hugging face"),
        ("license", "terms of use"),
        ("what is read", "we read"),
        ("what is not", "not read"),
        ("first run",),
    ):
        assert any(word in text for word in words), words
    printed = "".join(
        "".join(output.get("text", "")) for cell in cells for output in cell.get("outputs", [])
    )
    assert (
        "spar generate" in printed
        and re.search(r"\d+ questions from 1 scene", printed)
        and "/tmp/" not in printed
    )
