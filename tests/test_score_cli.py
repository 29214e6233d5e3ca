"""`spar score`: flavours, files, counts, and what it says about a file that is no good."""

import json
import re

import pytest
from typer.testing import CliRunner

from spar_kit.cli.main import app

ROWS = [
    dict(id="a_0", task="depth_prediction_oc", answer="1.5", prediction="-1.5"),
    dict(id="a_1", task="position_matching", answer="C", prediction=""),
    dict(id="b_0", task="camera_motion_infer", answer="C", prediction="(C)"),
    dict(
        id="b_1",
        task="view_change_infer",
        answer="move_right:0.5,rotate_right:30",
        prediction="move_right:0.5,rotate_right:30",
    ),
    dict(
        id="b_2",
        task="view_change_infer",
        answer="move_right:0.5",
        prediction=None,
        failed="timeout",
    ),
    dict(
        id="c_0",
        task="position_matching",
        answer="A",
        prediction="<script>alert(1)</script>\x1b[31m" + "9" * 10_000,
    ),
]


def spar_score(folder, *words, rows=ROWS):
    (folder / "a.jsonl").write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    )
    return CliRunner().invoke(app, ["score", str(folder / "a.jsonl"), *words])


def test_all_flavours(tmp_path):
    done = spar_score(
        tmp_path, "--items", str(tmp_path / "i.jsonl"), "--json", str(tmp_path / "s.json")
    )
    assert done.exit_code == 0, done.output
    items = [json.loads(line) for line in (tmp_path / "i.jsonl").read_text().splitlines()]
    assert [
        [item[name] for name in ("id", "score", "official", "easi", "strict")] for item in items
    ] == [
        ["a_0", 0, 1, 0, 0],
        ["a_1", 0, 1, 0, 0],
        ["b_0", 1, 0, 1, 1],
        ["b_1", 1, 1, 1, 1],
        ["b_2", None, None, None, None],
        ["c_0", 0, 0, 0, 0],
    ]
    assert (
        [bool(item["why"]) for item in items] == [True, True, True, False, False, False]
        and items[0]["why"] == "official drops the sign"
        and "strict: -1.5" in items[0]["read"]
    )
    whole = json.loads((tmp_path / "s.json").read_text())
    assert (
        whole["flavour"] == "strict"
        and whole["score"] == pytest.approx(0.5)
        and whole["failed"] == 1
        and whole["levels"] == pytest.approx({"low": 0, "medium": 2 / 3})
    )
    assert whole["flavours"]["official"]["levels"] == {"low": 1, "medium": 0.25} and whole[
        "flavours"
    ]["official"]["score"] == pytest.approx((1 + 0.5 + 0 + 1) / 4)
    assert all(
        name in done.output
        for name in (
            "official",
            "easi",
            "strict",
            "failed",
            "view_change_infer",
            "medium",
            "the scorers differ on 3 of 6 answers",
            "official drops the sign",
            "1 without a prediction",
            "leaves view_change_infer out",
            "spar compare",
        )
    )
    assert "\x1b[31m" not in done.output and "<script>" not in done.output


@pytest.mark.parametrize(
    "flavour, scores",
    [
        ("official", [1, 1, 0, 1, None, 0]),
        ("easi", [0, 0, 1, 1, None, 0]),
        ("strict", [0, 0, 1, 1, None, 0]),
    ],
)
def test_one_flavour(tmp_path, flavour, scores):
    done = spar_score(
        tmp_path,
        "--flavour",
        flavour,
        "--items",
        str(tmp_path / "i.jsonl"),
        "--json",
        str(tmp_path / "s.json"),
    )
    assert done.exit_code == 0, done.output
    items = [json.loads(line) for line in (tmp_path / "i.jsonl").read_text().splitlines()]
    assert [item["score"] for item in items] == scores and not {
        "official",
        "easi",
        "strict",
        "why",
    } & set(items[0])
    whole = json.loads((tmp_path / "s.json").read_text())
    assert (
        whole["flavour"] == flavour
        and "flavours" not in whole
        and set(whole["tasks"]["position_matching"])
        == {"items", "scored", "failed", "score", "interval"}
    )
    assert "differ" not in done.output


@pytest.mark.parametrize(
    "rows, words",
    [
        (["{"], ["a.jsonl:1", "not JSON"]),
        (["[1]"], ["a.jsonl"]),
        ([ROWS[0], {**ROWS[1], "task": "nope"}], ["a.jsonl:2", "task 'nope'"]),
        ([ROWS[0], {k: v for k, v in ROWS[1].items() if k != "answer"}], ["a.jsonl:2", "'answer'"]),
        ([{k: v for k, v in ROWS[1].items() if k != "prediction"}], ["a.jsonl:1", "'prediction'"]),
        ([{**ROWS[0], "prediction": {"a": 1}}], ["a.jsonl:1", "'prediction'"]),
        ([], ["a.jsonl", "no rows"]),
    ],
)
def test_bad_input_is_named(tmp_path, rows, words):
    done = spar_score(tmp_path, rows=rows)
    assert (
        isinstance(done.exception, ValueError)
        and all(word in str(done.exception) for word in words)
        and "\n" not in str(done.exception)
    )


def test_unknown_flavour(tmp_path):
    assert spar_score(tmp_path, "--flavour", "lenient").exit_code == 2


@pytest.mark.parametrize(
    "rows, left, names",
    [
        (
            [
                dict(
                    id="a",
                    task="obj_spatial_relation_oo",
                    format="select",
                    answer="G",
                    prediction="G",
                ),
                ROWS[0],
            ],
            1,
            ["obj_spatial_relation_oo/select: 1 not scored by strict", "a ('G')"],
        ),
        (
            [
                dict(
                    id=str(k),
                    task="obj_spatial_relation_oo",
                    format="sentence",
                    answer="Nobody knows.",
                    prediction="left",
                )
                for k in range(5)
            ]
            + [ROWS[0]],
            5,
            ["sentence: 5 not scored", "0 ('Nobody knows.')", ", ..."],
        ),
        (
            [
                dict(
                    id="a",
                    task="obj_spatial_relation_oo",
                    format="judge",
                    answer="perhaps",
                    prediction="Yes",
                ),
                dict(
                    id="b",
                    task="obj_spatial_relation_oo",
                    format="judge",
                    answer="False",
                    prediction="No",
                ),
            ],
            1,
            ["judge: 1 not scored", "'perhaps'"],
        ),
    ],
)
def test_what_no_mean_holds_is_named_and_counted(tmp_path, rows, left, names):
    done = spar_score(tmp_path, "--json", str(tmp_path / "s.json"), rows=rows)
    assert done.exit_code == 0 and all(
        name in done.output for name in ["left out of the mean", *names]
    )
    whole = json.loads((tmp_path / "s.json").read_text())
    assert (
        whole["left_out"] == left == sum(whole["left_out_of"].values())
        and whole["scored"] == len(rows) - left
        and whole["complete"]
    )
    scored = [row["scored"] for row in whole["tasks"].values()]
    assert sum(scored) == len(rows) - left and f"of {len(rows) - left}" in done.output, (
        "the number stands beside the mean"
    )


def test_a_mean_over_all_says_nothing_more(tmp_path):
    done = spar_score(
        tmp_path,
        rows=[
            dict(id="a", task="position_matching", format="select", answer="(B)", prediction="B")
        ],
    )
    assert (
        "left out of the mean" not in done.output
        and done.output.count("100.0 [") == 9
        and "] of " not in done.output
    )


def test_flavours_without_a_rule_say_how_many_they_hold(tmp_path):
    rows = [
        dict(
            id="a", task="obj_spatial_relation_oo", format="judge", answer="Yes", prediction="Yes"
        ),
        dict(id="b", task="obj_spatial_relation_oo", format="select", answer="B", prediction="B"),
    ]
    done = spar_score(tmp_path, rows=rows)
    assert (
        len(re.findall(r"100\.0 \[\d+, 100\] of 1\b", done.output)) == 6
        and "left out of the mean" not in done.output
    ), "official and easi: task, level, all"
    done = spar_score(tmp_path, "--scorer", "easi", rows=rows)
    assert "obj_spatial_relation_oo/judge: 1 not scored by easi" in done.output
