"""`strict`: what a careful person accepts, by tables; any text at all, by Hypothesis; long texts;
and the three flavours together."""

import json
import math
import subprocess
import sys

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spar_kit.bench.scorers import parse_choice as r
from spar_kit.bench.scorers import parse_numbers as q
from spar_kit.bench.scorers.comparison import (
    count_reasons,
    full_report,
    item_lines,
    score_flavours,
    side_by_side,
)
from spar_kit.bench.scorers.disagreements import FLAVOURS, disagreements, row_score
from spar_kit.bench.scorers.official import BENCH_TASKS
from spar_kit.bench.scorers.table import (
    overall,
    report,
    score_file,
    score_item,
    score_rows,
    summarize_scores,
)
from spar_kit.tasks.registry import TASKS


@pytest.mark.parametrize(
    "text, letter",
    [
        ("<answer> (b) </answer>", "B"),
        ("<answer>A</answer> <answer>B</answer>", "B"),
        ("<think>A? C?\n</think>\n\nB", "B"),
        ("[THINK]A[/THINK]B", "B"),
        ("◁think▷A◁/think▷B", "B"),
        (r"\boxed{B}", "B"),
        (r"So $\boxed{\text{B}}$ is it, not \(A\).", "B"),
        (r"\boxed{\mathbf{B}. left}", "B"),
        ('{"answer": "B"}', "B"),
        ('```json\n{"reasoning": "A or C", "answer": "B"}\n```', "B"),
        ("{'answer': 'B'}", "B"),
        ('["B"]', "B"),
        ('{"choice": "B", "confidence": 0.9}', "B"),
        ("**Answer:** B", "B"),
        ("Final Answer: **(B)**", "B"),
        ("The correct option is B) left", "B"),
        ("Ｂ", "B"),
        ("B\u200b", "B"),
        ("B<|im_end|>", "B"),
        ("<b>B</b>", "B"),
        ("La respuesta es B.", "B"),
        ("答案是B。", "B"),
        ("答案是 B。", "B"),
        ("I'd go with B, since A is too near", "B"),
        ("A is wrong, so B.", "B"),
        ("B is the best choice; A is not.", "B"),
        ("the answer is b", "B"),
        ("answer: a", "A"),
        ("The answer is a lamp", None),
        ("The answer is A lamp", None),
        ("A", "A"),
        ("a", "A"),
        ("A.", "A"),
        ("A lamp", None),
        ("A because the lamp is near", "A"),
        ("A or B", None),
        ("A, B", None),
        ("A\nB", None),
        ("B\n\nQuestion: which one?\nAnswer: C", "B"),
        ("Let me see.\nA is far.\nC is near.\n\nB", "B"),
        ("Either C or D", None),
        ("The answer is A or B", None),
        ("not A but B", "B"),
        ("It cannot be A.", None),
        ("<think>I believe the answer is B", "B"),
        ("<think>A, maybe", None),
        ("<think>B</think>", None),
        ("<answer></answer>", None),
        ("none of them", None),
        ("E", "E"),
        ("vitamin C3, 3D", None),
        ("e.g. the lamp", None),
        ("", None),
    ],
)
def test_letters(text, letter):
    assert r.parse_letter(text) == letter


@pytest.mark.parametrize(
    "text, number",
    [
        ("1.5", 1.5),
        ("1.5 m", 1.5),
        ("1.5m.", 1.5),
        ("150cm", 1.5),
        ("1500 millimetres", 1.5),
        ("1,500 mm", 1.5),
        ("1,500", 1500),
        ("1.500,5", 1.5),
        ("1,5", 1.5),
        ("0.0015 km", 1.5),
        ("5 feet", 1.524),
        ("6 ft 2 inches", 1.8796),
        ("2 m 30 cm", 2.3),
        ("1 meter and 50 centimeters", 1.5),
        ("\u22121.5", -1.5),
        ("\u20131.5 m", -1.5),
        ("-1.5 m", -1.5),
        ("+1.5", 1.5),
        ("~1.5", 1.5),
        ("≈1.5m", 1.5),
        ("1.5e0", 1.5),
        ("15e-1 m", 1.5),
        ("3/2", 1.5),
        ("1 1/2 m", 1.5),
        ("1½ m", 1.5),
        ("½", 0.5),
        ("one and a half meters", 1.5),
        ("half a meter", 0.5),
        ("two", 2),
        ("twenty-five square meters", 25),
        ("one", 1),
        ("No one can say", None),
        ("one of them is nearer", None),
        ("zero point three meters", 0.3),
        ("25 m^2", 25),
        ("25 m²", 25),
        ("25 square meters", 25),
        ("1.5 meters (4.92 feet)", 1.5),
        ("Object 3 in image 2 is 1.5 m away", 1.5),
        ("1. The chair is near.\n2. The lamp is 1.5 m away.", 1.5),
        ("1.5 ± 0.2 m", 1.5),
        ("1.5 m, not 2.5 m", 1.5),
        ("The red point is 2.0 m away, the blue one 0.5 m more. So the answer is 2.5 m.", 2.5),
        ("2.0 + 0.5 = 2.5", 2.5),
        ("Therefore the depth is 2.5 m, given 2.0 m for red.", 2.5),
        ("1-2 m", None),
        ("1.0 to 2.0 meters", None),
        ("between 1 and 2 meters", None),
        ("between 1 and 2 meters, I say 1.5", 1.5),
        ("<answer>1.5</answer> or 2", 1.5),
        (r"$\boxed{1.5 \text{ m}}$", 1.5),
        (r"\(1.5\)", 1.5),
        ('{"answer": 1.5}', 1.5),
        ('{"depth": 1.5, "unit": "m", "confidence": 0.8}', 1.5),
        ('{"answer": 150, "unit": "cm"}', 1.5),
        ("<think>2.0</think>1.5", 1.5),
        ("<think>2.0", None),
        ("１．５", 1.5),
        ("**1.5**", 1.5),
        ("1.5\n\nQuestion: 2 chairs?", 1.5),
        ("9" * 5000, None),
        ("nan", None),
        ("inf", None),
        ("", None),
    ],
)
def test_numbers(text, number):
    found = q.parse_number(text)
    assert found is None if number is None else found == pytest.approx(number)


LINE = (0.6, -0.2, -0.4, -30, -10)


@pytest.mark.parametrize(
    "text, movement",
    [
        ("move_right:0.6,move_down:0.2,move_backward:0.4,rotate_down:10,rotate_left:30", LINE),
        (
            (
                "move_right : 0.6 , move_down : 0.2 , move_back : 0.4 , rotate_down : 10 ,"
                " rotate_left : 30"
            ),
            LINE,
        ),
        (
            (
                "Move_Right:0.6m, Move_Down:20cm, Move_Backward:400mm, Rotate_Down:10°,"
                " Rotate_Left:30 degrees"
            ),
            LINE,
        ),
        ("move_left:-0.6,move_up:\u22120.2,move_forward:-0.4,rotate_up:-10,rotate_right:-30", LINE),
        (
            "<think>move_right:9</think>move_right:0.6,move_down:0.2,move_backward:0.4,rotate_down:10,rotate_left:30",
            LINE,
        ),
        (
            (
                "Move 0.6 meters to the right, 0.2 meters down and 0.4 meters backward, then tilt"
                " down by 10 degrees and turn left by 30 degrees."
            ),
            LINE,
        ),
        (
            (
                '{"move_right": 0.6, "move_down": 0.2, "move_backward": 0.4, "rotate_down": 10,'
                ' "rotate_left": 30}'
            ),
            LINE,
        ),
        ("move_left:9 no, move_right:0.6", (0.6, 0, 0, 0, 0)),
        ("make camera rotate down 5 degrees and rotate left 15 degrees.", (0, 0, 0, -15, -5)),
        ('{"move_right": 0.6}', (0.6, 0, 0, 0, 0)),
        ("move_right:0.0", (0, 0, 0, 0, 0)),
        ("move_<right_or_left>:0.6", None),
        ("I cannot tell", None),
        ("1,2,3,4,5", None),
        ("", None),
    ],
)
def test_movements(text, movement):
    assert q.parse_movement(text) == (None if movement is None else pytest.approx(movement))


@pytest.mark.parametrize(
    "task, answer, prediction, score",
    [
        ("view_change_infer", "move_right:0.5,rotate_right:30", "", 0),
        ("view_change_infer", "move_right:0.5,rotate_right:30", "I cannot tell", 0),
        ("view_change_infer", "move_right:0.5,move_up:0.2", "move_right:1.0,move_up:0.2", 0.8),
        ("depth_prediction_oc", "1.5", "-1.5", 0),
        ("depth_prediction_oc", "1.5", "150 cm", 1),
        ("distance_prediction_oo", "2.0", "1.0", 0.1),
        ("distance_prediction_oo", "1.0", "2.0", 0),
        ("depth_prediction_oo", "0.0", "0.0", 1),
        (
            "spatial_volume_infer",
            "length is 40 cm, width is 20 cm, and height is 10 cm.",
            "0.4 m x 0.2 m x 0.1 m",
            1,
        ),
        (
            "spatial_volume_infer",
            "length is 40 cm, width is 20 cm, and height is 10 cm.",
            "0.4 x 0.2 x 0.1 m",
            1,
        ),
        (
            "spatial_volume_infer",
            "length is 40 cm, width is 20 cm, and height is 10 cm.",
            '{"length": 40, "width": 20, "height": 10}',
            1,
        ),
        ("camera_motion_infer", "Image Coor:(500, 500), Depth:2.0 meters", "(500, 500), 200 cm", 1),
        ("position_matching", "[0, 0, 100, 100]", '{"bbox_2d": [0, 0, 100, 100]}', 1),
        (
            "distance_infer_center_oc_mv",
            "the third image, [0, 0, 100, 100]",
            "Image 3: [0, 0, 100, 100]",
            1,
        ),
        (
            "distance_infer_center_oc_mv",
            "the third image, [0, 0, 100, 100]",
            "the first image, [0, 0, 100, 100]",
            0,
        ),
        ("distance_infer_center_oo", "chair (green point)", "the green one, not the red", 1),
        ("obj_spatial_relation_oo", "No", "No.", 1),
        ("obj_spatial_relation_oo", "No", "That is not true.", 1),
        ("obj_spatial_relation_oo", "Yes", "There is no way to say", 0),
        ("obj_spatial_relation_oo", "Yes", "The statement is wrong. Answer: yes", 1),
        ("room_size", "25", "25 square metres", 1),
        ("obj_count", "3", "three chairs", 1),
        ("obj_count", "3", "There are 3 chairs.", 1),
    ],
)
def test_scores(task, answer, prediction, score):
    assert score_item(task, answer, prediction).value == pytest.approx(score)


def test_an_options_words_choose_it_where_the_question_is_known():
    question = (
        "Where?\nA. left, , farther\nB. right, above, closer\nC. right, , closer\nYour answer can"
        " only include one of options A, B or C."
    )
    assert (
        score_item("obj_spatial_relation_oo", "B", "Right, above, closer", "select", question).value
        == 1
        and score_item("obj_spatial_relation_oo", "B", "Right, above, closer").value == 0
    )
    assert (
        score_item("obj_spatial_relation_oo", "C", "right, closer", "select", question).value == 0
        and score_item("obj_spatial_relation_oo", "A", "left, , farther.", "select", question).value
        == 1
    )


ANSWERS = {
    "select": "B",
    "judge": "Yes",
    "fill": "1.5",
    "sentence": "The towel is about 1.5 meters deep.",
}
OTHERS = [
    "move_left:0.2,rotate_up:5",
    "[1, 2, 30, 40]",
    "Image Coor:(1, 2), Depth:1.2 meters",
    "length is 4 cm, width is 2 cm, and height is 1 cm.",
    "chair (red point)",
]
TEXTS = st.one_of(
    st.text(),
    st.text(alphabet=st.characters(codec=None), max_size=40),
    st.lists(
        st.sampled_from(
            [
                "<answer>",
                "</answer>",
                "<think>",
                "</think>",
                "\\boxed{",
                "{",
                "}",
                '"answer":',
                "B",
                "(c)",
                "1.5",
                "-",
                "1e9",
                "1/0",
                "½",
                " m",
                " cm",
                "move_left:",
                "rotate_up",
                ":",
                "[",
                ",",
                "]",
                "\n",
                "\x00",
                "٣",
                "no",
                "yes",
                "A chair",
                "answer is ",
                "not ",
                "between 1 and ",
                "9" * 400,
                "<script>",
                "\ud800",
                "\u202e",
                "image 2",
                "one",
                "by ",
                "length",
            ]
        ),
        max_size=30,
    ).map("".join),
)


@settings(max_examples=120, deadline=None)
@given(TEXTS, st.sampled_from(list(TASKS)), st.sampled_from(list(ANSWERS)), st.sampled_from(OTHERS))
def test_any_text_scores_in_every_flavour(text, task, format, other):
    for answer in (ANSWERS[format], other, text):
        values = [
            row_score(dict(id=0, task=task, answer=answer, prediction=text, question=text), flavour)
            for flavour in FLAVOURS
        ]
        assert all(0 <= value <= 1 or math.isnan(value) for value in values)
        assert math.isnan(values[0]) == math.isnan(values[1]) == (task not in BENCH_TASKS)
    rows = [
        dict(id=0, task=task, answer=ANSWERS[format], prediction=text, format=format),
        dict(id=1, task="position_matching", answer="B", prediction=text),
    ]
    found = disagreements(rows)
    assert found.why.ne("").all()
    assert all(
        orjson.loads(line)["id"] in "01" for line in item_lines(score_flavours(rows)).splitlines()
    )


@settings(max_examples=200, deadline=None)
@given(
    st.floats(0.1, 9.9).map(lambda v: round(v, 1)),
    st.sampled_from(
        [
            "{}",
            "{} m",
            "{} meters.",
            "about {}m",
            "**{}**",
            "<answer>{}</answer>",
            "The answer is {}.",
            '{{"answer": {}}}',
            "\\boxed{{{}}}",
            "<think>7.7</think> {}",
        ]
    ),
)
def test_the_true_number_scores_1_in_any_dress(value, dress):
    assert score_item("depth_prediction_oc", str(value), dress.format(value)).value == 1
    assert (
        score_item(
            "depth_prediction_oc",
            str(value),
            dress.format(f"{value * 100:.0f} cm" if dress.endswith("{}") else value),
        ).value
        == 1
    )
    assert score_item("depth_prediction_oc", str(value), dress.format(-value)).value == 0


def test_a_megabyte_of_anything_comes_back():
    # a subprocess, so that a pattern of quadratic time fails the test instead of stopping the whole
    # run
    code = """
from spar_kit.bench.scorers.table import score_item
pieces = ["answer is" + " " * 500, "<answer ", "<think>", '{"a":', "\\\\boxed{", "A ", "* ", "the answer is [", "not A ", "1", "1 ", "1,", "between 1 and ", "move right ", "one ", "\\ufdfa", "\\n", "image 1 "]
answers = ["B", "Yes", "1.5", "chair (green point)", "length is 4 cm, width is 2 cm, and height is 1 cm.", "move_left:0.2", "the first image, [1, 2, 30, 40]"]
for piece in pieces:
    text = piece * (10**6 // len(piece)) + " the end"
    for answer in answers:
        assert 0 <= score_item("view_change_infer", answer, text).value <= 1
"""  # noqa: E501
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)


ROWS = [
    dict(id="a_0", task="depth_prediction_oc", answer="1.5", prediction="-1.5"),
    dict(id="a_1", task="position_matching", answer="C", prediction=""),
    dict(id="b_0", task="camera_motion_infer", answer="C", prediction="(C)"),
    dict(
        id="b_1",
        task="view_change_infer",
        answer="move_right:0.5,rotate_right:30",
        prediction="I cannot tell",
    ),
    dict(
        id="b_2", task="view_change_infer", answer="move_right:0.5", prediction="", failed="timeout"
    ),
    dict(id="c_0", task="room_size", answer="25", prediction="25", format="fill"),
    dict(id="c_1", task="obj_spatial_relation_oo", answer="Yes", prediction="yes", format="judge"),
    dict(id="c_2", task="obj_spatial_relation_oo", answer="B", prediction=None),
]


def test_three_flavours_side_by_side():
    tables = score_flavours(ROWS)
    nan = np.nan
    assert np.allclose(
        tables["official"].score, [1, 1, 0, 0, nan, nan, nan, nan], equal_nan=True
    ) and np.allclose(tables["easi"].score, [0, 0, 1, 0.6, nan, nan, nan, nan], equal_nan=True)
    assert np.allclose(tables["strict"].score, [0, 0, 1, 0, nan, 1, 1, nan], equal_nan=True)
    assert (
        tables["strict"].metric.tolist()[4] == "failed"
        and tables["strict"].parsed.tolist()[4] == "timeout"
        and tables["strict"].parsed.tolist()[7] == "the prediction is null"
    )
    assert all(score_rows(ROWS, flavour).equals(table) for flavour, table in tables.items())
    means = {flavour: overall(table, flavour) for flavour, table in tables.items()}
    assert (
        means["official"] == {"low": 1, "medium": 0.5, "all": 0.5}
        and means["easi"] == pytest.approx({"low": 0, "medium": 1.6 / 3, "all": 0.4})
        and means["strict"] == pytest.approx({"low": 0, "medium": 1 / 3, "high": 1, "all": 0.5})
    )
    table = side_by_side(tables).set_index("name")
    assert table.index.tolist() == [
        "depth_prediction_oc",
        "position_matching",
        "camera_motion_infer",
        "view_change_infer",
        "obj_spatial_relation_oo",
        "room_size",
        "low",
        "medium",
        "high",
        "all",
    ]
    assert (
        table.failed["all"] == 2
        and table["items"]["all"] == 8
        and table.failed["view_change_infer"] == 1
        and np.isnan(table.official["room_size"])
    )
    for flavour in FLAVOURS:
        assert all(
            table[flavour][level] == pytest.approx(value) for level, value in means[flavour].items()
        )
    with pytest.raises(ValueError, match="unknown flavour 'lenient'"):
        score_rows(ROWS, "lenient")


def test_summaries_count_what_failed():
    scores = score_rows(ROWS)
    assert summarize_scores(scores).set_index("task").loc[
        "view_change_infer", ["items", "scored", "failed"]
    ].tolist() == [2, 1, 1]
    assert (
        report(scores)["failed"],
        report(scores)["left_out"],
        report(score_rows(ROWS, "easi"), "easi")["left_out"],
    ) == (2, 0, 2)


def test_disagreements_name_the_rule():
    found = disagreements(ROWS).set_index("id")
    assert found.why.to_dict() == {
        "a_0": "official drops the sign",
        "a_1": "official: an empty text occurs in every answer, so it is right",
        "b_0": "official: the first character is not the letter but a blank, a bracket or a tag",
        "b_1": (
            "easi: nothing said counts as five zeros, and the axes on which nothing happens are"
            " right"
        ),
    }
    assert (
        found.loc["a_0", ["official", "easi", "strict"]].tolist() == [1, 0, 0]
        and found.read["b_0"] == "official: (, easi: C, strict: C"
    )
    tables = score_flavours(ROWS)
    whole = full_report(tables, side_by_side(tables), disagreements(ROWS))
    assert (
        whole["score"] == whole["flavours"]["strict"]["score"] == pytest.approx(0.5)
        and whole["differing"] == {"items": 4, "why": dict.fromkeys(found.why, 1)}
        and count_reasons(disagreements([])).empty
    )
    low, high = whole["flavours"]["official"]["tasks"]["position_matching"]["interval"]
    assert high == 1 and 0 < low < 0.1, "one right answer says little of others"
    assert set(whole["intervals"]) == {"low", "medium", "high", "all"}


def test_items_keep_every_row_and_its_scores():
    lines = [
        json.loads(line)
        for line in item_lines(
            score_flavours(
                [*ROWS, dict(id="d_0", task="position_matching", answer="C", prediction="\ud800 C")]
            )
        ).splitlines()
    ]
    assert [line["id"] for line in lines] == [*(row["id"] for row in ROWS), "d_0"] and [
        line["score"] for line in lines
    ] == [0, 0, 1, 0, None, 1, 1, None, 1]
    assert (
        lines[0]["official"] == 1
        and lines[0]["strict"] == 0
        and lines[5]["official"] is None
        and lines[4]["metric"] == "failed"
    )


def test_rows_that_other_tools_write(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"id": 1, "task": "position_matching", "answer": "B", "prediction": "\\ud800'
        b' B"}\r\n\r\n{"id": 2, "task": "depth_prediction_oc", "answer": 1.5, "prediction":'
        b' 1.5}\n{"id": 3, "task": "depth_prediction_oc", "answer": "1.5", "failed": "HTTP 500"}\n'
    )
    assert score_file(path).score.tolist()[:2] == [1, 1] and score_file(path).metric.tolist() == [
        "accuracy",
        "mra",
        "failed",
    ]
