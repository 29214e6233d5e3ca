"""`easi`: the published probes and our own, which always run, and VLMEvalKit's files where
SPAR_EASI_FOLDER names them."""

import os

import numpy as np
import pandas as pd
import peer_scorers
import pytest

from spar_kit.bench.scorers.easi import (
    LONGEST_LIST,
    easi_means,
    easi_score,
    parse_easi_letter,
    parse_easi_number,
)
from spar_kit.bench.scorers.official import BENCH_TASKS

MOVE = "move_right:0.5,rotate_right:30"
CHOICE = "obj_spatial_relation_oo"
NUMBER = "depth_prediction_oc"
LAST = "depth_prediction_oc_mv"
VIEW = "view_change_infer"
PROBES = [
    # rows that were run with the released file
    (CHOICE, "C", "", 0),
    (CHOICE, "C", "(C)", 1),
    (CHOICE, "C", "Answer: C", 1),
    (CHOICE, "A", "Answer: C", 0),
    (CHOICE, "B", "Because it is on the left, C", 0),
    (CHOICE, "C", "Cannot determine", 0),
    (CHOICE, "B", "think.. <answer>B</answer>", 1),
    (NUMBER, "1.5", "about 2, maybe 1.5", 1),
    (NUMBER, "1.5", "-1.5", 0),
    (NUMBER, "3", "three", 1),
    (NUMBER, "1500", "1,500", 0),
    (VIEW, MOVE, "move_right:0.0", 0.6),
    (VIEW, MOVE, "I cannot tell", 0.6),
    (VIEW, MOVE, "", 0.6),
    (VIEW, "move_right:0.5,move_up:0.2", "move_right:1.0,move_up:0.2", 0.8),
    (VIEW, MOVE, MOVE.replace(",", ", "), 1),
    (VIEW, MOVE, MOVE.replace(":", ": "), 1),
    # further ones, from VLMEvalKit's own files (ms-vlmeval 0.0.20)
    (CHOICE, "A", "A chair", 1),
    (CHOICE, "B", "Option B: left\nC", 0),
    (CHOICE, "C", "Option B: left\nC", 1),
    (CHOICE, "B", "A or B", 0),
    (CHOICE, "B", "<think>so B</think>", 1),
    (CHOICE, "J", "<answer>J</answer>", 0),
    (CHOICE, "B", "答案：B吗", 1),
    (CHOICE, "B", "我选 (B)", 1),
    (CHOICE, "B", "b", 1),
    (CHOICE, "B", "x\n**B**\n\n", 1),
    (CHOICE, "Yes", "", 1),
    (CHOICE, "B", "B\u200b.", 1),
    (CHOICE, "B", "<anſwer>B</anſwer>", 1),
    (LAST, "2", "2 then 4", 0),
    (NUMBER, "2", "[2, 3]", 1),
    (NUMBER, "2", "[about 2]", 0),
    (NUMBER, "2", "<answer>2 m</answer>, not 3", 1),
    (NUMBER, "20", "Twenty", 1),
    (NUMBER, "20", "twenty-one", 0),
    (NUMBER, "2", "2 m^2", 1),
    (NUMBER, "100", "1e2", 1),
    (NUMBER, "0.0", "0.3", 0.5),
    (NUMBER, "nan", "1", 0),
    (NUMBER, "2", "<think>2</think> no idea", 1),
    (VIEW, "move_backward:0.4", "move_back:0.4", 0.8),
    (VIEW, MOVE, MOVE + ",note:1:2,,x", 1),
    (VIEW, MOVE, "move_right:1_0,rotate_right:30", 0.8),
]


@pytest.mark.parametrize("task, answer, prediction, score", PROBES)
def test_golden_probes(task, answer, prediction, score):
    assert easi_score(task, answer, prediction) == pytest.approx(score, abs=1e-12)


def test_other_tasks_have_no_score_and_long_lists_are_not_read():
    with pytest.raises(ValueError, match="'room_size' is not a task of SPAR-Bench"):
        easi_score("room_size", "1", "1")
    assert (
        parse_easi_number("[" + "1," * 100 + "]") == 1
        and parse_easi_number("[" + "1," * LONGEST_LIST + "]") is None
    )


def test_the_view_change_counts_in_its_level():
    tasks = list(BENCH_TASKS)
    means = easi_means(tasks, [0.0 if task == VIEW else 1.0 for task in tasks])
    assert (
        means["middle"] == pytest.approx(2 / 3)
        and means["overall"] == pytest.approx(0.95)
        and easi_means([], [])["overall"] == 0
    )


@pytest.mark.parametrize(
    "piece",
    [
        "<answer>A",
        "<answer ",
        "<answer",
        "answer ",
        "answer is" + " " * 99,
        "A ",
        "A" + " " * 999,
        "* ",
        "(",
        "[",
        "</answer>",
        "</ ",
        "<think>",
        "1",
        "1.",
        "1e1",
        "one ",
        "final ",
        "option A",
    ],
)
def test_long_texts_of_anything_are_read(piece):
    # VLMEvalKit's own patterns need hours for some of these
    text = piece * (200_000 // len(piece)) + "x"
    assert parse_easi_letter(text) in (None, "A") and parse_easi_number(text) is not False


def test_bit_equal_to_what_the_released_files_gave():
    """As for official: what ms-vlmeval 0.0.20 gave to the same 20,000 predictions."""
    rows = list(peer_scorers.rows(BENCH_TASKS, 20_000, seed=2))
    scores = [easi_score(*row) for row in rows]
    assert peer_scorers.digest(scores) == "43fc9289fe7d6f3d"
    means = easi_means([task for task, _, _ in rows], scores)
    assert [means[name] for name in ("overall", "low", "middle", "high")] == [
        0.150284,
        0.1298,
        0.18942666666666663,
        0.15544444444444444,
    ]


@pytest.mark.skipif(
    "SPAR_EASI_FOLDER" not in os.environ,
    reason="SPAR_EASI_FOLDER names no folder with vlmeval/dataset/sparbench.py",
)
def test_equal_to_the_released_files():
    bench, scores = peer_scorers.easi(os.environ["SPAR_EASI_FOLDER"])
    rows = [
        *peer_scorers.rows(BENCH_TASKS, 40_000, seed=1),
        *((task, answer, said) for task, answer, said, _ in PROBES),
    ]
    frame = pd.DataFrame(rows, columns=["task", "answer", "prediction"])
    kinds = frame.task.map(BENCH_TASKS)
    parts = (
        scores.compute_mcq_score(frame[kinds == "choice"]),
        scores.compute_na_score(frame[kinds == "number"]),
        bench().compute_special_score(frame[kinds == "movement"]),
    )
    expected = (
        pd.concat(
            [part[name] for part, name in zip(parts, ("hit", "MRA:.5:.95:.05", "vci_metric"))]
        )
        .sort_index()
        .tolist()
    )
    ours = [easi_score(*row) for row in rows]
    assert [(row, a, b) for row, a, b in zip(rows, expected, ours) if a != b] == []
    assert 0.1 < np.mean([value > 0 for value in ours]) < 0.9
    for count in (len(rows), 777, 20, 1):
        found = bench()._aggregate(*(part[part.index < count] for part in parts))
        named = {
            name.replace("_MRA:.5:.95:.05", "")
            .removesuffix("_accuracy")
            .removesuffix("_vci_metric")
            .replace("Low", "low")
            .replace("Middle", "middle")
            .replace("High", "high"): value
            for name, value in found.items()
        }
        assert named == easi_means([task for task, _, _ in rows[:count]], ours[:count])
