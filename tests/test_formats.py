"""Wordings, options, and questions as text."""

import re
import string
from collections import Counter
from itertools import product

import numpy as np
import pytest

from spar_kit.language.answer_text import (
    format_meters,
    map_text,
    movement_text,
    movement_words,
    place_words,
    plane_words,
    relation_text,
)
from spar_kit.language.builders.content import clean_labels
from spar_kit.language.options.numbers import numeric_options
from spar_kit.language.options.placement import balanced_positions, camera_options, size_options
from spar_kit.language.options.relations import mirrored_options, relation_options
from spar_kit.language.questions import write_questions
from spar_kit.language.templates import load_templates, parse_words, template_fields
from spar_kit.tasks.registry import IMAGES_PER_VIEW, TASKS, Facts, rng_for

LABELS = {
    1: "chair",
    2: "chair",
    3: "kitchen cabinets",
    4: "lamp",
    5: 'a "quoted" {brace} & <b>tag</b>',
    6: "two\nlines\tand \x00 more",
    7: "стол 机",
    8: "books",
}


def make_facts(task: str, n: int = 40, seed: int = 0) -> Facts:
    """Facts of the right form for any task, made up."""
    rng = rng_for(seed, task)
    t = TASKS[task]
    if task in ("distance_infer_center_oo_video", "nav_video"):
        k = 5
    elif task.endswith("map_mv"):
        k = 7
    elif task in ("appearance_order", "distance_infer_center_oc", "distance_infer_center_oc_mv"):
        k = 4
    elif task == "obj_count":
        k = 1
    else:
        k = len(t.markers)
    if task.endswith("hard"):
        k = 4 if "_oo_" in task else 3
    signs = rng.choice([-1, 0, 1], (n, 5), p=[0.4, 0.2, 0.4])
    signs[(signs[:, :3] == 0).all(1), 0] = 1
    slots = 5 if "_oo_" in task else 3
    distance = rng.uniform(0.5, 5, (n, 4 if k in (4, 5) else 2))
    numbers = {
        "given": rng.uniform(0.5, 4, n),
        "answer": rng.uniform(0.3, 5, n),
        "distance": distance,
        "farthest": rng.random(n) < 0.5,
        "fair": np.ones(n, bool),
        "relation": signs[:, :slots],
        "before": signs[::-1, :slots],
        "size": np.sort(rng.uniform(0.05, 2, (n, 3)))[:, [2, 1, 0]],
        "translation": rng.normal(0, 1, (n, 3)),
        "rotation": rng.normal(0, 30, (n, 2)),
        "position": rng.uniform(0.3, 3, (n, 3)),
        "image": rng.uniform(0, 1000, (n, 2)),
        "target_box": rng.integers(0, 500, (n, 4)),
        "distractor_box": rng.integers(0, 500, (n, 3, 4)),
        "visible": rng.random((n, 32)) < 0.3,
        "option_box": rng.integers(0, 999, (n, 4, 4)),
        "option_view": rng.integers(0, t.images, (n, 4)),
        "first": rng.permuted(np.tile(np.arange(4) * 3, (n, 1)), axis=1),
    }
    keep = {
        "obj_count": ["answer"],
        "room_size": ["answer"],
        "camera_motion_infer": ["position", "image"],
    }.get(task, list(numbers))
    if not task.startswith("depth"):
        keep = [name for name in keep if name != "given"]
    if "imagination" not in task or "video" in task:
        keep = [name for name in keep if name != "before"]
    numbers = {name: numbers[name] for name in keep}
    if task == "obj_count":
        numbers["answer"] = rng.integers(2, 9, n)
    if task == "room_size":
        numbers["answer"] = rng.uniform(5, 60, n)
    if task.endswith("map_mv"):
        numbers = {"number": rng.integers(3, 8, n), "position": rng.normal(0, 2, (n, 7, 2))}
    if task == "nav_video":
        numbers = {
            "legs": rng.integers(1, 6, n),
            "turn": rng.choice([-1, 1], (n, 5)) * rng.uniform(15, 170, (n, 5)),
            "walk": rng.uniform(0.5, 4, (n, 5)),
            "last_turn": rng.uniform(-90, 90, n),
        }
    objects = rng.permuted(np.tile(np.arange(1, 9), (n, 1)), axis=1)[:, :k]
    return Facts(
        task=task,
        frames=np.tile(np.arange(IMAGES_PER_VIEW[t.views]), (n, 1)),
        objects=objects.astype(np.int32),
        view=rng.integers(0, t.images, (n, k)).astype(np.int8),
        marks=None,
        numbers=numbers,
    )


def options_of(question: str) -> list[str]:
    return [line[3:] for line in question.split("\n") if re.match(r"[A-D]\. ", line)]


# --- wordings
# ---------------------------------------------------------------------------------------------------------------------  # noqa: E501


def test_there_are_words_for_every_task_and_prompt():
    words = load_templates()
    assert set(words.tasks) == set(TASKS)
    assert all(len(set(w.question)) >= 20 for w in words.tasks.values())
    assert (
        all(len(set(pool)) >= 20 for pool in words.prompts.values())
        and len(set(words.notes["observer"])) >= 20
    )
    assert all(
        len(words.tasks[name].judge) >= 20
        for name, task in TASKS.items()
        if "judge" in task.formats
    )
    units = {
        "depth": "meters",
        "distance_prediction": "meters",
        "spatial_volume": "centimeters",
        "room_size": "square meters",
        "camera_motion": "meters",
    }
    for name, wording in words.tasks.items():
        for begin, unit in units.items():
            assert not name.startswith(begin) or all(unit in text for text in wording.question), (
                name
            )


OBJECT = r"\{(?:red|blue|green|yellow|first|second|gold|other)\}"
SUBJECT = re.compile(
    rf"(?<!of )(?<!to )(?<!or )(?<!from )(?<!and )(?<!with )(?<!nearer\}} )"
    rf"\b[Tt]he {OBJECT} (is|was|has|lies|does|appears|comes|stands|ends)\b"
)
INVERTED = re.compile(rf"\b(where|how|side|when|object) (is|was|does|has) the {OBJECT}", re.I)


def test_no_template_depends_on_a_singular_label():
    """ "the books is" must not occur, so an object is never the subject of a verb that shows its
    number."""
    for name, wording in load_templates().tasks.items():
        for template in (
            *wording.question,
            *wording.judge,
            *(t for pool in wording.sentence.values() for t in pool),
        ):
            assert not SUBJECT.search(template.replace("{nearer} the {red}", "{nearer}")), (
                name,
                template,
            )
            assert not INVERTED.search(template), (name, template)
            assert not re.search(rf"\b[Aa]n? {OBJECT}", template), (name, template)
            # "the shoes that is"
            assert not re.search(rf"{OBJECT} that (is|was|has)\b", template), (name, template)


def test_lists_of_objects_read_as_english():
    """Marked objects carry "the"; bare names stand after a colon; and what is "the second image at
    [box]" is "in" it."""
    words = load_templates()
    assert all(": {names}" in template for template in words.tasks["appearance_order"].question)
    assert all(
        "in {answer}" in template
        for template in words.tasks["distance_infer_center_oc_mv"].sentence[""]
    )
    for task in ("spatial_imagination_map_mv", "distance_infer_center_oo_video"):
        for item in write_questions(
            make_facts(task, 20), "sentence", LABELS, np.random.default_rng(0)
        ):
            marked = sum(item.question.count(f"object{k})") for k in "A0123456")
            with_article = sum(
                item.question.count(f"the {label} (")
                for label in set(clean_labels(LABELS).values())
            )
            assert with_article == marked >= 3, item.question


def test_judge_questions_hold_no_relation_word_but_the_claim():
    words = load_templates()
    pool = [t for w in words.tasks.values() for t in w.judge] + list(words.prompts["judge"])
    for text in pool:
        assert not re.search(
            r"\b(left|right|above|below|over|under|closer|nearer|farther|further|behind|back|front|higher|lower)\b",
            text.lower(),
        ), text


def test_a_bad_file_of_words_is_refused_with_every_fault():
    good = {
        "notes": {},
        "legends": {},
        "prompts": {},
        "tasks": {"room_size": {"fields": [], "question": ["How large is {it}?"] * 20}},
    }
    with pytest.raises(ValueError, match="unknown field") as error:
        parse_words(good)
    assert "appears twice" in str(error.value)


# --- options
# ----------------------------------------------------------------------------------------------------------------------  # noqa: E501


@pytest.mark.parametrize("low, high", [(0.3, 1.0), (0.3, 8.0), (1.5, 2.0), (4.0, 9.9)])
def test_numeric_options_over_thousands(low, high):
    rng = np.random.default_rng(0)
    exact = rng.uniform(low, high, 3000)
    rows, values, place = numeric_options(exact, rng)
    assert len(rows) > (1800 if high > 3 else 600)
    right = values[np.arange(len(rows)), place]
    assert [format_meters(v) for v in right] == [format_meters(v) for v in exact[rows]]
    ordered = np.sort(values, 1)
    assert (np.diff(ordered) >= np.maximum(0.2, 0.15 * ordered[:, :-1]) - 1e-9).all() and (
        ordered >= 0.3 - 1e-9
    ).all()
    assert np.ptp(np.bincount(place, minlength=4)) <= 1
    assert not (np.diff(values) > 0).all(1).mean() > 0.15  # not sorted


def test_numeric_options_give_nothing_away():
    """The rank is uniform, and neither the middle nor the most usual value is right more often than
    chance allows."""
    rng = np.random.default_rng(1)
    exact = np.exp(rng.normal(0.7, 0.4, 6000)).clip(0.4, 7.5)
    rows, values, place = numeric_options(exact, rng)
    right = values[np.arange(len(rows)), place]
    ordered = np.sort(values, 1)
    rank = (ordered < right[:, None]).sum(1)
    assert np.abs(np.bincount(rank) / len(rows) - 0.25).max() < 0.03
    for guess in (
        np.abs(ordered - ordered.mean(1, keepdims=True)).argmin(1),
        np.abs(ordered - np.median(exact)).argmin(1),
        (ordered * 10 % 5 == 0).argmax(1),
    ):
        assert (guess == rank).mean() < 0.30


def test_a_stated_number_does_not_help():
    rng = np.random.default_rng(2)
    given = np.exp(rng.normal(0.7, 0.4, 6000)).clip(0.4, 6)
    # as the task spreads them
    exact = (given * np.exp(rng.uniform(-0.9, 0.9, 6000))).clip(0.4, 7)
    rows, values, place = numeric_options(exact, rng, hint=given)
    assert (np.abs(values - given[rows, None]).argmin(1) == place).mean() < 0.30


def less_or_equal(a, b):
    """a says nothing that b does not say."""
    return ((a == b) | (a == 0)).all(-1)


@pytest.mark.parametrize("make, width", [(relation_options, 3), (mirrored_options, 3)])
def test_relation_options_over_thousands(make, width):
    rng = np.random.default_rng(3)
    true = rng.choice([-1, 0, 1], (4000, width), p=[0.35, 0.2, 0.45])
    true[rng.random(4000) < 0.4, 2] = 1
    true = true[(true != 0).any(1)]
    # either object may be named first: a relation is as frequent as its opposite
    if make is relation_options:
        true *= rng.choice([-1, 1], (len(true), 1))
    rows, values, place = make(true, rng)
    right = values[np.arange(len(rows)), place]
    assert (
        len(rows) > 0.5 * len(true)
        and (right == true[rows]).all()
        and len(set(rows.tolist())) == len(rows)
    )
    for i in range(4):
        for j in range(4):
            assert i == j or not less_or_equal(values[:, i], values[:, j]).any()
    # each word stands in a second option
    assert ((values[:, :, None] == values[:, None]).sum(2) >= 2).all()
    assert np.ptp(np.bincount(place, minlength=4)) <= 1 and (values != 0).any(-1).all()
    # a table of how often each combination was right, learned on other questions, gains little
    code = ((values + 1) * [9, 3, 1]).sum(-1)
    half = rng.random(len(rows)) < 0.5
    table = np.bincount(code[half, place[half]], minlength=27)
    best = (table[code] + rng.random(code.shape) * 0.5).argmax(1)
    assert (best == place)[~half].mean() < 0.30


def test_five_slots_give_nothing_away():
    rng = np.random.default_rng(4)
    true = np.c_[
        rng.choice([-1, 1], (6000, 3)), rng.choice([-1, 0, 1], (6000, 2), p=[0.6, 0.1, 0.3])
    ]
    # what is behind is the nearer one
    true[true[:, 3] > true[:, 4], 2] = -1
    rows, values, place = mirrored_options(true, rng)
    assert len(rows) > 0.6 * len(true) and (values[np.arange(len(rows)), place] == true[rows]).all()
    for i in range(4):
        for j in range(4):
            assert i == j or not less_or_equal(values[:, i], values[:, j]).any()
    code = ((values + 1) * 3 ** np.arange(5)).sum(-1)
    half = rng.random(len(rows)) < 0.5
    table = np.bincount(code[half, place[half]], minlength=243)
    assert ((table[code] + rng.random(code.shape) * 0.5).argmax(1) == place)[~half].mean() < 0.30


def test_answers_near_nothing_are_not_always_the_smallest():
    """Differences crowd at zero; in a set the smallest is right no more often than the others."""
    rng = np.random.default_rng(8)
    exact = np.abs(rng.normal(0, 1, 4000))
    rank = []
    kept = 0
    for part in np.array_split(exact, 50):
        rows, values, place = numeric_options(part, rng, limits=(0.0, 8.0))
        kept += len(rows)
        rank += (np.sort(values, 1) < values[np.arange(len(rows)), place][:, None]).sum(1).tolist()
    share = np.bincount(rank, minlength=4) / len(rank)
    assert share.max() < 0.29 and kept > 0.5 * len(exact)


def test_few_relations_get_options_too():
    for n in (1, 2, 5):
        rows, values, _ = relation_options(np.tile([1, -1, -1], (n, 1)), np.random.default_rng(n))
        assert len(rows) == n and len({tuple(map(tuple, v)) for v in values.tolist()}) >= 1
    rows, *_ = relation_options(np.array([[1, 0, 0], [0, 0, -1]]), np.random.default_rng(0))
    assert len(rows) == 0  # one word alone: every longer option would contain it


@pytest.mark.parametrize("make", [relation_options, mirrored_options])
@pytest.mark.parametrize(
    "relation", [np.zeros((0, 3)), np.array([[0, 1, 1], [0, 0, -1]]), np.array([[1, 0, 0]])]
)
def test_no_relation_that_can_be_asked_gives_no_sets(make, relation):
    rows, values, place = make(relation, np.random.default_rng(0))
    if make is mirrored_options or not len(relation):
        assert len(rows) == len(place) == 0 and values.shape == (0, 4, 3)
    assert len(rows) == len(values) == len(place)


def test_size_and_camera_options():
    rng = np.random.default_rng(5)
    sizes = np.sort(np.exp(rng.normal(3.7, 0.9, (2000, 3))).clip(2, 400))[:, [2, 1, 0]]
    rows, values, place = size_options(sizes, rng)
    assert (
        len(rows) > 1500
        and (values[np.arange(len(rows)), place] == np.floor(sizes[rows] + 0.5)).all()
    )
    assert (values > 0).all() and (values[..., 0] >= values[..., 1]).all()
    a = values[:, :, None]
    b = values[:, None]
    apart = (np.abs(a - b) >= np.maximum(2, 0.1 * np.minimum(a, b))).any(-1) | np.eye(4, dtype=bool)
    assert apart.all()
    for n in (1, 3, 300):
        points = rng.integers(0, 1001, (n, 2))
        depths = rng.uniform(0.1, 6, n)
        rows, shown, z, place = camera_options(points, depths, rng)
        assert (
            len(rows) >= (n if n < 4 else 0.95 * n)
            and (shown[np.arange(len(rows)), place] == points[rows]).all()
            and (shown >= 0).all()
            and (shown <= 1000).all()
            and (z > 0).all()
        )
        away = np.linalg.norm(
            (shown[:, :, None] - shown[:, None]).astype(float), axis=-1
        ) + 1000 * np.eye(4)
        assert (away >= 100).all()
    sets = {}
    for row, at in zip(np.concatenate([shown, 10 * z[..., None]], -1).round(), place):
        sets.setdefault(tuple(sorted(map(tuple, row.tolist()))), []).append(tuple(row[at]))
    # each member of a set is right once
    assert all(sorted(right) == list(options) for options, right in sets.items())


def test_letters_are_balanced_within_strata():
    strata = np.arange(103) % 3
    places = balanced_positions(103, 4, np.random.default_rng(6), strata)
    for k in range(3):
        counts = np.bincount(places[strata == k], minlength=4)
        assert np.ptp(counts) <= 1
    assert len(balanced_positions(0, 4, np.random.default_rng(0))) == 0


# --- fixed forms
# ------------------------------------------------------------------------------------------------------------------  # noqa: E501


def test_fixed_forms():
    assert (
        movement_text((0.09, -0.11, 0.5), (2.4, -2.6))
        == "move_right:0,move_up:0.2,move_forward:0.6,rotate_down:5,rotate_right:0"
    )
    assert (
        movement_text((-0.6, 1.04, -1.0), (-134, 35.2))
        == "move_left:0.6,move_down:1.0,move_backward:1.0,rotate_up:35,rotate_left:135"
    )
    assert (
        movement_words((0, 0, 0), (-16, -4)) == "tilt down by 5 degrees and turn left by 15 degrees"
    )
    assert (
        relation_text((0, -1, 1)) == ", above, farther"
        and relation_text((1, 0, -1, -1, 1), (0, 1, 2, 3, 3)) == "right, , closer, front, behind"
    )
    assert (
        plane_words(0, 0) == ""
        and place_words(0, 0, 1) == "behind"
        and place_words(-1, 1, -1) == "to the left, below and in front"
    )
    assert map_text([(0, -0.04)]) == "Object0 :(0.0,0.0)."


# --- questions
# --------------------------------------------------------------------------------------------------------------------  # noqa: E501

EVERY = [(name, form) for name in load_templates().tasks for form in TASKS[name].formats]


@pytest.mark.parametrize("task, form", EVERY)
def test_every_task_speaks_in_every_format(task, form):
    facts = make_facts(task)
    items = write_questions(facts, form, LABELS, rng_for(0, task, form))
    assert len(items) >= (10 if form == "select" else 40)
    for _, question, answer, extra in items:
        assert (
            "  " not in question.split("\nA. ")[0]
            and question == question.strip()
            and answer == answer.strip()
            and answer
        )
        assert (
            "{red}" not in question
            and "{answer}" not in answer
            and "\x00" not in question
            and "\t" not in question
        )
        assert extra["wording"] < 25
        if form == "select":
            shown = options_of(question)
            assert (
                len(shown)
                == len(set(shown))
                == (2 if task in ("distance_infer_center_oo", "distance_infer_center_oo_mv") else 4)
            )
            assert answer in string.ascii_uppercase[: len(shown)] and len(extra["options"]) == len(
                shown
            )
            assert re.search(
                r"Your answer can only include one of (the )?options A, B(, C,? or D)?\.$", question
            )
        elif form == "sentence" and not task.endswith("map_mv"):
            assert (
                answer[0].isupper()
                and answer.endswith(".")
                and " ." not in answer
                and " ," not in answer
                and "  " not in answer
            )
        if form != "select" and task != "view_change_infer":
            assert "\n" not in question
    again = write_questions(facts, form, LABELS, rng_for(0, task, form))
    assert again == items and write_questions(facts, form, LABELS, rng_for(1, task, form)) != items


def test_answers_are_the_facts():
    facts = make_facts("depth_prediction_oc")
    for row, question, answer, _ in write_questions(facts, "fill", LABELS, rng_for(0)):
        assert (
            answer == f"{facts.numbers['answer'][row]:.1f}"
            and f"{facts.numbers['given'][row]:.1f} meters" in question
        )
    for row, question, answer, extra in write_questions(facts, "select", LABELS, rng_for(0)):
        assert options_of(question)[
            "ABCD".index(answer)
        ] == f"{facts.numbers['answer'][row]:.1f}" and options_of(question) == [
            f"{v:.1f}" for v in extra["options"]
        ]
    facts = make_facts("position_matching")
    for row, question, answer, extra in write_questions(facts, "select", LABELS, rng_for(0)):
        gold = facts.numbers["target_box"][row].tolist()
        assert options_of(question)["ABCD".index(answer)] == str(gold) and sorted(
            extra["options"]
        ) == sorted([gold, *facts.numbers["distractor_box"][row].tolist()])
    facts = make_facts("appearance_order")
    for row, _, answer, _ in write_questions(
        facts, "fill", {i: f"thing {i}" for i in range(9)}, rng_for(0)
    ):
        order = facts.numbers["first"][row].argsort()
        assert answer == ", ".join(f"thing {facts.objects[row, k]}" for k in order)


def test_two_candidates_have_equal_chances():
    facts = make_facts("distance_infer_center_oo", 4000)
    d = facts.numbers["distance"]
    far = facts.numbers["farthest"]
    named_first = []
    letter_a = []
    green = []
    for row, question, answer, _ in write_questions(facts, "select", LABELS, rng_for(0)):
        right = "green" if (d[row, 0] < d[row, 1]) != far[row] else "blue"
        shown = options_of(question)
        assert f"({right} point)" in shown["AB".index(answer)]
        stem = question.split("\n")[0]
        named_first.append(
            (stem.find("(green point)") < stem.find("(blue point)")) == (right == "green")
        )
        letter_a.append(answer == "A")
        green.append((answer == "A") == (stem.find("(green point)") < stem.find("(blue point)")))
    assert (
        abs(np.mean(letter_a) - 0.5) < 0.01
        and abs(np.mean(named_first) - 0.5) < 0.01
        and abs(np.mean(green) - 0.5) < 0.03
    )


def test_judge_is_balanced_for_each_claim_and_true():
    facts = make_facts("obj_spatial_relation_oo", 4000)
    relation = facts.numbers["relation"]
    seen = {}
    answers = Counter()
    for row, _, answer, extra in write_questions(facts, "judge", LABELS, rng_for(0)):
        slot, sign = extra["claim"]
        assert relation[row, slot] != 0 and (relation[row, slot] == sign) == (answer == "Yes")
        seen.setdefault((slot, sign), []).append(answer == "Yes")
        answers[slot, int(relation[row, slot]), answer] += 1
    # the guarantee of one call: whatever is true in a slot, Yes and No differ by one at the most
    for slot, true in product(range(3), (-1, 1)):
        assert (
            abs(answers[slot, true, "Yes"] - answers[slot, true, "No"]) <= 1
            and answers[slot, true, "Yes"] > 300
        )
    # a claim is then right as often as its word is true among these made-up facts: near a half, no
    # guarantee
    assert len(seen) == 6 and all(abs(np.mean(v) - 0.5) < 0.05 for v in seen.values())


@pytest.mark.parametrize("n", [1, 2, 3, 7, 40, 401])
@pytest.mark.parametrize("task", ["obj_spatial_relation_oo", "obj_spatial_relation_oo_mv"])
def test_judge_is_balanced_in_every_call(task, n):
    """However few rows a call has: for each slot and true sign by one at the most; where both signs
    are as frequent, for each claim too."""
    facts = make_facts(task, n, n)
    relation = facts.numbers["relation"]
    answers = Counter()
    for row, _, answer, extra in write_questions(facts, "judge", LABELS, rng_for(n)):
        slot, _ = extra["claim"]
        answers[slot, int(relation[row, slot]), answer] += 1
    assert sum(answers.values()) == n
    assert all(
        abs(answers[slot, true, "Yes"] - answers[slot, true, "No"]) <= 1
        for slot, true in product(range(3), (-1, 1))
    )
    # n rows of each sign, all other slots empty
    for slot in range(3):
        facts = make_facts(task, 2 * n, n)
        facts.numbers["relation"][:] = 0
        facts.numbers["relation"][:, slot] = [-1, 1] * n
        claims = Counter(
            (extra["claim"][1], answer)
            for _, _, answer, extra in write_questions(facts, "judge", LABELS, rng_for(n))
        )
        assert sum(claims.values()) == 2 * n and all(
            abs(claims[sign, "Yes"] - claims[sign, "No"]) <= 1 for sign in (-1, 1)
        )


def test_empty_slots_leave_no_trace():
    relations = np.array(
        [[x, y, z] for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if x or y or z]
    )
    n = len(relations)
    facts = Facts(
        task="obj_spatial_relation_oo",
        frames=np.zeros((n, 1), int),
        objects=np.tile([1, 3], (n, 1)),
        view=np.zeros((n, 2), int),
        marks=None,
        numbers={"relation": relations},
    )
    for seed in range(20):
        for row, _, answer, _ in write_questions(facts, "sentence", LABELS, rng_for(seed)):
            x, y, z = relations[row]
            for there, word in (
                (x < 0, "left of"),
                (x > 0, "right of"),
                (y < 0, "above"),
                (y > 0, "below"),
                (z < 0, "closer"),
                (z > 0, "farther"),
            ):
                assert there == (word in answer), answer
            assert not re.search(
                r"\b(is|and) (and|than|it)\b|(and|,) ?[.,]|  |\b(\w+) \3\b|\bit\b", answer
            ), answer


def test_labels_cannot_break_a_question():
    facts = make_facts("distance_prediction_oo", 300)
    texts = [item.question for item in write_questions(facts, "fill", LABELS, rng_for(0))]
    assert any('a "quoted" {brace} & <b>tag</b> (red point)' in text for text in texts) and any(
        "two lines and more (blue point)" in text for text in texts
    )
    assert any("стол 机 (red point)" in text for text in texts)


def test_refusals(monkeypatch):
    facts = make_facts("view_change_infer")
    with pytest.raises(ValueError, match="no format 'select'"):
        write_questions(facts, "select", LABELS, rng_for(0))
    monkeypatch.delitem(load_templates().tasks, "view_change_infer")  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError, match="view_change_infer"):
        write_questions(facts, "sentence", LABELS, rng_for(0))
    empty = make_facts("depth_prediction_oc", 0)
    assert write_questions(empty, "select", LABELS, rng_for(0)) == []


def test_templates_name_their_fields():
    for wording in load_templates().tasks.values():
        assert all(template_fields(t) == tuple(sorted(wording.fields)) for t in wording.question)
