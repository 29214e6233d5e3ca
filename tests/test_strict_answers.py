"""The strict reader: some nine hundred answers with the right reading, written by hand, and every
kind of generated record against itself and against others.

`strict_answers.jsonl` holds one answer a line: kind, task, format, the true answer, a prediction,
the score that a careful person gives (`want`), the question where it matters. `half` 1 was written
before the reader's code was opened, 2 against it. A row with `known` is misread and says why; it
fails the test as soon as it is read well.
"""

import json
from collections import defaultdict
from pathlib import Path

import pytest

from spar_kit.bench.scorers.comparison import scorer_rules
from spar_kit.bench.scorers.strict import _truth
from spar_kit.bench.scorers.table import score_item
from spar_kit.data.generate import generate
from spar_kit.scenes.sources import open_source
from spar_kit.tasks.registry import TASKS

ANSWERS = [
    json.loads(line)
    for line in (
        (Path(__file__).parent / "strict_answers.jsonl").read_text(encoding="utf-8").splitlines()
    )
]
KINDS = list(dict.fromkeys(row["kind"] for row in ANSWERS))


def score(row: dict) -> float | None:
    return score_item(
        row["task"], row["answer"], row["prediction"], row["format"], row.get("question")
    ).value


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_read_as_a_careful_person_reads_them(kind):
    wrong = []
    for row in (row for row in ANSWERS if row["kind"] == kind):
        value = score(row)
        right = value is not None and abs(value - row["want"]) < 0.051
        if right == bool(row.get("known")):
            wrong.append(
                f"{row['prediction']!r} for {row['answer'][:40]!r}: scored {value}, wanted"
                f" {row['want']}"
            )
    assert not wrong, "\n".join(wrong)


def test_the_table_is_large_and_has_few_known_misreadings():
    assert (
        len(ANSWERS) >= 400 and sum(row["half"] == 1 for row in ANSWERS) >= 200 and len(KINDS) > 20
    )
    assert sum("known" in row for row in ANSWERS) <= len(ANSWERS) // 50
    assert len(
        {
            (row["task"], row["format"], row["answer"], row["prediction"], row.get("question"))
            for row in ANSWERS
        }
    ) == len(ANSWERS)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Answer and question of generated records by task and format."""
    folder = tmp_path_factory.mktemp("records") / "data"
    generate(
        open_source("synthetic", scenes=2, seed=8, frames=32),
        folder,
        per_task=4,
        width=160,
        progress=False,
    )
    found = defaultdict(list)
    for path in sorted(folder.glob("spar/*/qa_jsonl/*/*/*/*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            asked, said = (turn["value"] for turn in record["conversations"])
            found[record["facts"]["task"], record["facts"]["format"]].append((said, asked))
    return found


def test_every_record_scores_1_against_itself(records):
    missing = {(task.name, form) for task in TASKS.values() for form in task.formats} - set(records)
    # not every small room has them
    assert {task for task, _ in missing} <= {
        "nav_video",
        "room_size",
        "obj_count",
        "distance_infer_center_oc",
        "distance_infer_center_oc_mv",
    }, missing
    wrong = [
        (task, form, said)
        for (task, form), rows in records.items()
        for said, asked in rows
        for question in (asked, None)
        if score_item(task, said, said, form, question).value != 1
    ]
    assert not wrong, wrong[:10]


def test_another_truth_scores_less(records):
    compared = 0
    wrong = []
    for (task, form), rows in records.items():
        truths = [_truth(task, said) for said, _ in rows]
        for k, (said, asked) in enumerate(rows):
            for other, (theirs, _) in enumerate(rows):
                if truths[k] != truths[other] and not _near(truths[k][1], truths[other][1]):
                    compared += 1
                    value = score_item(task, said, theirs, form, asked).value
                    if value is None or value >= 1:
                        wrong.append((task, form, said, theirs, value))
    assert compared > 500 and not wrong, wrong[:10]


def _near(a: object, b: object) -> bool:
    """Whether two truths are numbers within the 5 % of the first that mean relative accuracy does
    not tell apart, or places within 5 % of an image."""
    if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b):
        pairs = list(zip(a, b))
    else:
        pairs = [(a, b)]
    if not all(isinstance(value, (int, float)) for pair in pairs for value in pair):
        return False
    return all(
        abs(x - y) <= max(0.0501 * abs(x), 50.0 if len(pairs) == 3 and max(x, y) > 12 else 0.0)
        for x, y in pairs
    )


def test_routes_and_every_kind_have_a_rule():
    rules = scorer_rules()
    assert rules.strict.ne("-").all() and len(rules) == sum(
        len(task.formats) for task in TASKS.values()
    )
    assert (
        set(rules[rules.official.ne("-")].task) == set(rules[rules.easi.ne("-")].task)
        and rules.official.ne("-").sum() == 20
    )
    walk = (
        "Turn left by 30 degrees, then walk 2.0 meters towards the right door. Finally, turn 10"
        " degrees to the right."
    )
    assert (
        score_item("nav_video", walk, walk).value == 1
        and score_item("nav_video", walk, walk.replace("left", "right")).value < 1
    )
    assert score_item("nav_video", walk, walk.replace("towards the right door", "")).value == 1


SPAR_SENTENCES = [
    (
        "distance_infer_center_oo",
        (
            "With distances of 2.1 meters (wardrobe (green point)) and 1.0 meters (socket (blue"
            " point)), the wardrobe (green point) is evidently farther to light switch."
        ),
        "wardrobe (green point)",
        "socket (blue point)",
    ),
    (
        "distance_infer_center_oo_video",
        "The object farthest to couch is sofa chair (Object2), which is 4.2 meters away.",
        "Object2",
        "Object1",
    ),
    (
        "obj_count",
        "In that recorded segment, we see 2 cooking pot stationed in the room.",
        "2",
        "3",
    ),
    (
        "obj_spatial_relation_oo_mv",
        (
            "From the perspective provided, the sofa chair(red bbox) is to the right and below the"
            " books(blue bbox). This places it closer as well. The the sofa chair(red bbox) and the"
            " books(blue bbox) are in front of the observer."
        ),
        (
            "The sofa chair (red bbox) is right of, below and closer than the books (blue bbox)."
            " Both are in front of the observer."
        ),
        (
            "The sofa chair (red bbox) is left of and above the books (blue bbox), and farther."
            " Both are behind the observer."
        ),
    ),
    (
        "spatial_imagination_oc",
        (
            "Initially, Object35 is perceived as to the left by the observer. It might also seem to"
            " the front. After moving to Object0 and orienting toward Object24, Object35 is"
            " described as to the right below. It appears to the front."
        ),
        "After moving it is to the right, below and in front.",
        "After moving it is to the left, above and behind.",
    ),
    (
        "obj_spatial_relation_oc_mv",
        (
            "Relative to the observer's position, the telephone (red bbox) appears to the left"
            " below, and also seems to the front."
        ),
        "left, below, front",
        "right, above, behind",
    ),
    (
        "spatial_imagination_map_mv",
        "Object0 :(-0.3,1.4). Object1 :(-1.1,2.0). Object2 :(-0.8,2.4).",
        "Object0: (-0.3, 1.4); Object1: (-1.1, 2.0); Object2: (-0.8, 2.4)",
        "Object0: (3, 4)",
    ),
    (
        "view_change_infer",
        "make camera rotate down 5 degrees and rotate left 15 degrees.",
        "rotate_down:5,rotate_left:15",
        "move_left:1,move_up:1,move_forward:1,rotate_up:5,rotate_right:15",
    ),
    (
        "depth_prediction_oc",
        "towel's central depth is estimated to be about 1.5 meters.",
        "1.5",
        "2.5",
    ),
]


@pytest.mark.parametrize("task, answer, right, wrong", SPAR_SENTENCES)
def test_spars_own_sentences_are_comparable(task, answer, right, wrong):
    assert (
        score_item(task, answer, answer, "sentence").value == 1
        and score_item(task, answer, right, "sentence").value == 1
    )
    assert score_item(task, answer, wrong, "sentence").value < 0.6
