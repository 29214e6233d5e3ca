"""Scores: the published measures by hand, hostile predictions, files."""

import math

import numpy as np
import orjson
import pytest

from spar_kit.bench.analysis.statistics import (
    best_run_per_task,
    interval,
    intervals,
    paired_difference,
)
from spar_kit.bench.baselines.blind import blind_predictions
from spar_kit.bench.baselines.text_forest import (
    mra_optimal_constant,
    parse_question,
    predict_constant,
    predict_with_forest,
)
from spar_kit.bench.scorers import table as s


def official_mra(prediction: float, target: float) -> float:
    """SPAR-Bench's released formula, written out: ten thresholds from .5 to .95."""
    count = int((0.95 - 0.5) / 0.05 + 2)
    thresholds = np.linspace(0.5, 0.95, count)
    error = abs(prediction - target) / abs(target) if target else abs(prediction - target)
    return float((error <= 1 - thresholds).mean())


def test_mean_relative_accuracy_is_the_published_one():
    rng = np.random.default_rng(0)
    for prediction, target in rng.uniform(0, 8, (1000, 2)).round(1):
        assert s.mean_relative_accuracy(prediction, target) == official_mra(prediction, target)
    assert (
        s.mean_relative_accuracy(0.04, 0.0) == 1.0
        and s.mean_relative_accuracy(float("inf"), 2.0) == 0.0
    )


@pytest.mark.parametrize(
    "text, letter",
    [
        ("B", "B"),
        ("b", "B"),
        ("(B)", "B"),
        ("**B**", "B"),
        ("B.", "B"),
        ("B. left, above", "B"),
        ("The answer is B", "B"),
        ("Answer: B", "B"),
        ("Option (B) fits", "B"),
        ("<answer>B</answer> or C", "B"),
        ("<think>A? C?</think> B", "B"),
        ("", None),
        ("A chair stands there", None),
        ("After all, the lamp", None),
        ("Based on the image", None),
        ("A and B", None),
        ("yes", None),
    ],
)
def test_letters(text, letter):
    assert s.parse_letter(text) == letter


@pytest.mark.parametrize(
    "text, number",
    [
        ("1.5", 1.5),
        ("1.5 meters", 1.5),
        ("150 cm", 1.5),
        ("about 1,200 m", 1200),
        ("-0.5", -0.5),
        (".5", 0.5),
        ("", None),
        ("far", None),
        ("The chair is 1.2 m away, the answer is 2.4 m", 2.4),
        ("4 m^2", 4),
        ("<answer>3</answer>", 3),
        ("12mm", 0.012),
    ],
)
def test_numbers(text, number):
    found = s.parse_number(text)
    assert found == number if number is None else math.isclose(found, number)


def test_the_number_that_counts():
    # SPAR-Bench takes the first number in single-view tasks and the last one in the others
    assert s.score_item("depth_prediction_oc", "1.0", "1.0 then 9.0").value == 1
    assert s.score_item("depth_prediction_oc_mv", "1.0", "9.0 then 1.0").value == 1


def test_empty_is_wrong_everywhere():
    answers = [
        "B",
        "Yes",
        "1.5",
        "chair (green point)",
        "[1, 2, 30, 40]",
        "Image Coor:(104, 269), Depth:1.2 meters",
        "length is 40 cm, width is 20 cm, and height is 10 cm.",
        "move_right:0.6,move_up:0.2,move_forward:0,rotate_up:5,rotate_left:30",
    ]
    for answer in answers:
        assert s.score_item("depth_prediction_oc", answer, "").value == 0
        assert s.score_item("depth_prediction_oc", answer, answer).value == 1


def test_movement_by_hand():
    gold = "move_right:0.6,move_down:0.2,move_backward:0.4,rotate_down:10,rotate_left:30"
    half = "move_right:0.3, move_down:0.2, move_back:0.4, rotate_down:10, rotate_right:30"
    # one axis 50 % off passes one threshold of ten, one axis has the wrong side, three are right
    assert math.isclose(
        s.score_item("view_change_infer", gold, half).value, (0.1 + 1 + 1 + 1 + 0) / 5
    )


def test_box_and_camera_by_hand():
    assert math.isclose(
        s.score_item("position_matching", "[0, 0, 100, 100]", "[50, 0, 150, 100]").value, 1 / 3
    )
    # 200/1000 away: within six of ten tolerances; depth exact
    got = s.score_item(
        "camera_motion_infer",
        "Image Coor:(500, 500), Depth:2.0 meters",
        "Image Coor:(700, 500), Depth:2.0 meters",
    ).value
    assert math.isclose(got, (0.6 + 1) / 2)


def test_sentences_are_scored_where_they_state_one_thing():
    assert (
        s.score_item(
            "depth_prediction_oc", "The depth comes to 2.0 meters.", "It is 2.0 meters", "sentence"
        ).value
        == 1
    )
    assert (
        s.score_item(
            "obj_spatial_relation_oo", "It is to the left.", "It is to the left.", "sentence"
        ).value
        == 1
    )
    assert (
        s.score_item(
            "obj_spatial_relation_oo", "It is to the left.", "It is to the right.", "sentence"
        ).value
        == 0
    )


def test_hostile_predictions_never_raise():
    rng = np.random.default_rng(0)
    pieces = [
        "<answer>",
        "</answer>",
        "B",
        "1.5",
        "move_left:",
        "rotate_up:1e999",
        "[",
        "]",
        "(",
        ",",
        "\x00",
        "\u202e",
        "٣",
        "9" * 400,
        "-",
        ".",
        "<script>",
        "\n",
        "yes",
        "A ",
    ]
    answers = [
        "B",
        "Yes",
        "1.5",
        "[1, 2, 30, 40]",
        "Image Coor:(1, 2), Depth:1.2 meters",
        "length is 4 cm, width is 2 cm, and height is 1 cm.",
        "move_left:0.2",
    ]
    for _ in range(400):
        junk = "".join(rng.choice(pieces, rng.integers(0, 30)))
        for answer in answers:
            value = s.score_item("view_change_infer", answer, junk).value
            assert value is not None and 0 <= value <= 1


def test_files(tmp_path):
    path = tmp_path / "p.jsonl"
    rows = [
        dict(id="a_0", task="depth_prediction_oc", answer="1.0", prediction="1.0"),
        dict(id="a_1", task="obj_spatial_relation_oo", answer="B", prediction="C"),
        dict(id="b_0", task="obj_spatial_relation_oo", answer="B", prediction=""),
    ]
    path.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    table = s.score_file(path)
    assert (
        table.score.tolist() == [1, 0, 0]
        and table.scene.tolist() == ["a", "a", "b"]
        and table.level.tolist() == ["low", "high", "high"]
    )
    assert s.overall(table) == {"low": 1.0, "high": 0.0, "all": 0.5}
    for bad, where in (
        (b"{", ":1: not JSON"),
        (b"[]", "no rows"),
        (b"[1]", "row 1: expected an object"),
        (b'{"id": 1}', ":1: field 'prediction' is missing"),
        (b'{"id": 1, "prediction": 2}', ":1: field 'task' is missing"),
        (b"", "no rows"),
        (orjson.dumps({**rows[0], "task": "nope"}), ":1: unknown task 'nope'"),
        (
            orjson.dumps({**rows[0], "prediction": ["1"]}),
            ":1: field 'prediction' holds a list, not a text",
        ),
        (orjson.dumps({**rows[0], "answer": None}), ":1: field 'answer' is missing"),
        (orjson.dumps({**rows[0], "id": True}), ":1: field 'id'"),
    ):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=where.replace("[", r"\[")):
            s.score_file(path)


def test_bootstrap_is_over_scenes():
    # two scenes, all right and all wrong: whatever the number of questions, two scenes say next to
    # nothing about others
    values = np.repeat([0.0, 1.0], 500)
    scenes = ["a"] * 500 + ["b"] * 500
    mean, low, high = interval(values, scenes)
    assert mean == 0.5 and low < 0.01 and high > 0.99
    assert interval(values, scenes, seed=3) == interval(values, scenes, seed=3)


def made(answers, task="obj_spatial_relation_oo", gold="A"):
    return s.score_rows(
        dict(id=f"room{k // 5}_{k}", task=task, answer=gold, prediction=a)
        for k, a in enumerate(answers)
    )


def test_paired_difference_and_best_of():
    a = made("A" * 40)
    b = made("AB" * 20)
    c = made("B" * 40)
    table = paired_difference(a, best_run_per_task({"b": b, "c": c}))
    assert (
        table.b.tolist() == [0.5]
        and table.better.tolist() == [True]
        and table["items"].tolist() == [40]
        and table.scenes.tolist() == [8]
    )
    assert not paired_difference(a, a).better[0] and paired_difference(c, a).difference[0] == -1
    assert 0.8 < intervals(a).low[0] < 1.0, (
        "40 right answers in 8 scenes leave room for a true score below 1"
    )
    with pytest.raises(ValueError, match="share no scored question"):
        paired_difference(a, made("A" * 4, task="position_matching"))


def test_best_constant_beats_every_other_constant():
    values = np.random.default_rng(1).lognormal(0.3, 0.6, 300).round(1).clip(0.1)
    best = mra_optimal_constant(values)
    scores = [np.mean([official_mra(c, v) for v in values]) for c in np.unique(values)]
    assert np.isclose(np.mean([official_mra(best, v) for v in values]), max(scores))


def test_blind_model_finds_a_leak_in_the_options():
    rng = np.random.default_rng(0)

    def questions(n):
        out = []
        for _ in range(n):
            values = rng.permutation([1.0, 2.0, 3.0, 4.0]) + rng.uniform(0, 0.4)
            text = (
                "How far?\n"
                + "\n".join(f"{letter}. {v:.1f}" for letter, v in zip("ABCD", values))
                + "\nAnswer."
            )
            out.append(parse_question(text, "ABCD"[int(values.argmax())]))
        return out

    train = questions(200)
    test = questions(100)
    right = [q.answer for q in test]
    assert np.mean([a == b for a, b in zip(predict_with_forest(train, test), right)]) == 1
    assert np.mean([a == b for a, b in zip(predict_constant(train, test), right)]) < 0.5


def test_blind_predictions_of_a_folder_without_training_questions(tmp_path):
    folder = tmp_path / "spar/synthetic/qa_jsonl/val/depth_prediction_oc/fill"
    folder.mkdir(parents=True)
    record = {
        "id": "r_0",
        "type": "depth_prediction_oc",
        "image": ["r/image_color/0.jpg"],
        "red_point": [[1, 1]],
        "blue_point": [[2, 2]],
        "conversations": [{"from": "human", "value": "How deep?"}, {"from": "gpt", "value": "1.0"}],
    }
    (folder / "fill_1.jsonl").write_bytes(orjson.dumps(record) + b"\n")
    files = blind_predictions(tmp_path, tmp_path / "out")
    assert {name: s.score_file(path).score.tolist() for name, path in files.items()} == {
        "constant": [0.0],
        "text": [0.0],
    }
