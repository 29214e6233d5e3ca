"""The oracle reads from a question's English which object has which role, also where the objects
are not named."""

from pathlib import Path

import orjson
import pytest

from spar_kit.data.generate import generate
from spar_kit.data.records import list_shards
from spar_kit.language.templates import load_templates
from spar_kit.oracle.text.roles import (
    expected_roles,
    object_with_depth,
    objects_with_role,
    tag_mentions,
)
from spar_kit.oracle.verify import verify
from spar_kit.scenes.procedural.source import Synthetic
from spar_kit.tasks.registry import TASKS

COLOURS = ("red", "blue", "green", "yellow")
CLAIMS = (
    "to the left of",
    "to the right of",
    "above",
    "below",
    "closer to the observer than",
    "farther from the observer than",
)
TASKS_WITH_ROLES = [name for name in TASKS if expected_roles(name)]


def said(
    task: str, template: str, paint: dict[str, str], claim: str, nearer: str
) -> dict[str, set[str]]:
    """What the words of a template give each role, its colors exchanged by `render_color`."""
    objects = {c: f"object ({paint.get(c, c)} point)" for c in COLOURS}
    text = template.format_map(
        {
            **objects,
            "first": objects["green"],
            "second": objects["blue"],
            "depth": "2.3",
            "claim": claim,
            "nearer": nearer,
        }
    )
    text = tag_mentions(text, ["chair"])
    return {
        role: object_with_depth(text) if role == "given" else objects_with_role(role, text)
        for role in expected_roles(task)
    }


def same_question(task: str, pair: set[str]) -> bool:
    """Whether exchanging two colors leaves the question what it was."""
    return task.startswith(("depth_prediction_oo", "distance_infer")) and "red" not in pair


@pytest.mark.parametrize("task", TASKS_WITH_ROLES)
def test_every_wording_says_who_is_who(task: str) -> None:
    words = load_templates().tasks[task]
    for template in (*words.question, *words.judge):
        for claim in CLAIMS if "{claim}" in template else CLAIMS[:1]:
            for nearer in ("closer to", "farther from"):
                assert said(task, template, {}, claim, nearer) == {
                    role: {colour} for role, colour in expected_roles(task).items()
                }, template
                used = [
                    c
                    for c in COLOURS
                    if "{" + c + "}" in template or "{first}" in template and c in ("green", "blue")
                ]
                for i, a in enumerate(used):
                    for b in used[:i]:
                        if not same_question(task, {a, b}):
                            now = said(task, template, {a: b, b: a}, claim, nearer)
                            assert any(
                                now[role] - {colour}
                                for role, colour in expected_roles(task).items()
                            ), (template, a, b)


@pytest.mark.parametrize(
    "text, role",
    [
        ("how deep is the §blue§ if the depth of the §red§ is 2.3 meters?", "red"),
        ("it is 2.3 meters.", None),
        ("the §red§ is 2.3 or 2.4 meters deep", None),
        ("with 2.3 meters for the §red§, what of the §blue§?", "red"),
    ],
)
def test_a_given_depth(text: str, role: str | None) -> None:
    assert object_with_depth(text) == ({role} if role else set())


@pytest.mark.parametrize(
    "name", ["chair", "<b>", r"\n", "lamp?", "0 %s", "A. table", "椅子", "كرسي", "x (y"]
)
def test_names_need_no_letters_at_their_ends(name: str) -> None:
    text = tag_mentions(
        f"With 2.3 meters for the {name} (red point), what of the {name} (in Frame-3, Object1)"
        " (blue point)?",
        [name],
    )
    assert text == "with 2.3 meters for the §red§, what of the §blue§?" and object_with_depth(
        text
    ) == {"red"}


NAMELESS = (
    "depth_prediction_oc",
    "obj_spatial_relation_oo",
    "spatial_imagination_oo",
    "obj_spatial_relation_oo_mv",
    "spatial_imagination_oc_mv",
)
SWAPS = {
    "depth_prediction_oc": ("red", "blue"),
    "obj_spatial_relation_oo": ("red", "blue"),
    "obj_spatial_relation_oo_mv": ("red", "blue"),
    "spatial_imagination_oo": ("red", "yellow"),
    "spatial_imagination_oc_mv": ("green", "red"),
}


def test_swapped_colours_of_nameless_questions_are_caught(tmp_path: Path) -> None:
    source = Synthetic(count=1, frames=36, width=320, height=240)
    generate(source, tmp_path, tasks=",".join(NAMELESS), per_task=16, width=160, progress=False)
    assert not any(task.mismatched for task in verify(tmp_path).tasks.values())
    swapped = dict.fromkeys(NAMELESS, 0)
    for path, task, _, _ in list_shards(tmp_path):
        lines = []
        for line in path.read_bytes().splitlines():
            record = orjson.loads(line)
            turn = record["conversations"][0]
            a, b = (f"object ({colour} " for colour in SWAPS[task])
            if a in turn["value"] and b in turn["value"]:
                turn["value"] = turn["value"].replace(a, "#").replace(b, a).replace("#", b)
                swapped[task] += 1
                lines.append(orjson.dumps(record))
        path.write_bytes(b"\n".join(lines) + b"\n" if lines else b"")
    report = verify(tmp_path)
    assert all(swapped.values())
    assert (
        {name: report.tasks[name].mismatched for name in NAMELESS}
        == swapped
        == {name: report.tasks[name].checked for name in NAMELESS}
    )


def test_a_wording_without_a_cue_is_not_checkable(tmp_path: Path) -> None:
    """The answer agrees, but whose it is, nobody can tell; where the answer is wrong as well, that
    comes first."""
    generate(
        Synthetic(count=1, frames=36, width=320, height=240),
        tmp_path,
        tasks="obj_spatial_relation_oo",
        per_task=8,
        width=160,
        progress=False,
    )
    wrong = 0
    for path, _, form, _ in list_shards(tmp_path):
        records = [orjson.loads(line) for line in path.read_bytes().splitlines()]
        for n, record in enumerate(records):
            if form != "judge":
                turn = record["conversations"][0]
                stem, _, options = turn["value"].partition("\nA. ")
                names = [f"the object ({colour} bbox)" for colour in ("red", "blue")]
                turn["value"] = f"{' and '.join(names)}: what does an observer see?" + (
                    f"\nA. {options}" if options else ""
                )
            if form == "sentence" and n == 0:
                record["conversations"][1]["value"] = "No."
                wrong += 1
        path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
    report = verify(tmp_path).tasks["obj_spatial_relation_oo"]
    assert report.mismatched == wrong == 1 and report.not_checkable.total() > 5
    assert set(report.not_checkable) == {
        "the question's wording is not known: which object is the reference?"
    }
