"""Predictions that other tools wrote: read whole, counted, and refused by file, line and field
where they are broken."""

import io
import json
import zipfile
from pathlib import Path

import orjson
import pandas as pd
import pytest

from spar_kit.bench.benchmarks import Benchmark
from spar_kit.bench.interop import prediction_files as f
from spar_kit.bench.interop import sheets
from spar_kit.bench.rows import RowError, canonical_answer
from spar_kit.bench.scorers.table import score_rows
from spar_kit.data.question import Question

MULTILINE = 'Where is it?\n\tA. "left", near\r\nB. right; =1+1 <b>x</b>'


def item(id, answer="1.5", task="depth_prediction_oc", format="fill", question="How deep?"):
    return Question(
        id=id,
        task=task,
        format=format,
        source="scannet",
        scene="scene1",
        text=question,
        answer=answer,
        images=(Path("0.jpg"),),
    )


ITEMS = [
    item("0"),
    item("1", "B", "obj_spatial_relation_oo", "select", MULTILINE),
    item("2", "move_right:0.5,rotate_left:30", "view_change_infer"),
    item("3", "2.0"),
]
BENCH = Benchmark(name="toy", items=tuple(ITEMS), official=True)


def rows_of(items, said):
    return [
        {
            "id": i.id,
            "task": i.task,
            "format": i.format,
            "source": i.source,
            "scene": i.scene,
            "question": i.text,
            "answer": i.answer,
            "prediction": s,
        }
        for i, s in zip(items, said)
    ]


SAID = ["about 1.4\nmetres", '=HYPERLINK("http://x")\t(B)', "move_right:0.5", ""]


def lines(path, values):
    path.write_text(
        "\n".join(json.dumps(value, ensure_ascii=False) for value in values), encoding="utf-8"
    )
    return path


def picked(rows):
    return [
        (row["id"], row["task"], row["format"], row["answer"], row["prediction"]) for row in rows
    ]


def test_plain_lines_and_an_array_are_read_and_lines_with_id_alone_are_joined(tmp_path):
    want = picked(rows_of(ITEMS, SAID))
    full = lines(tmp_path / "a.jsonl", rows_of(ITEMS, SAID))
    assert picked(f.read_predictions(full)) == want == picked(f.read_predictions(full, BENCH))
    (tmp_path / "b").write_text("\ufeff" + json.dumps(rows_of(ITEMS, SAID)))
    assert picked(f.read_predictions(tmp_path / "b")) == want
    bare = lines(
        tmp_path / "c.jsonl", [{"id": int(i.id), "prediction": s} for i, s in zip(ITEMS, SAID)]
    )
    assert picked(f.read_predictions(bare, BENCH)) == want and f.detect_format(bare) == "lines"
    with pytest.raises(ValueError, match="c.jsonl:1: field 'task' is missing"):
        f.read_predictions(bare)


@pytest.mark.parametrize("kind", ["tsv", "csv", "xlsx"])
def test_sheets_of_vlmevalkit(tmp_path, kind):
    frame = (
        pd.DataFrame(rows_of(ITEMS, SAID))
        .drop(columns=["id"])
        .assign(index=range(4), image="a" * 200_000)
    )
    path = tmp_path / f"model_SparBench.{kind}"
    if kind == "xlsx":
        frame.drop(columns="image").to_excel(path, index=False)
    else:
        frame.to_csv(path, index=False, sep="\t" if kind == "tsv" else ",")
    found = f.read_prediction_file(path)
    # pandas writes what begins with "=" as a formula without a stored value: VLMEvalKit finds
    # nothing there, and neither do we
    said = [SAID[0], "", *SAID[2:]] if kind == "xlsx" else SAID
    assert (
        picked(found.rows) == picked(rows_of(ITEMS, said))
        and found.kind == "sheet"
        and found.empty == 1 + (kind == "xlsx")
        and found.failed == 0
    )
    assert found.read.formulas == (kind == "xlsx")
    assert found.rows[1]["question"] == (
        MULTILINE if kind != "xlsx" else MULTILINE.replace("\r", "")
    )
    assert picked(f.read_predictions(path, BENCH)) == picked(found.rows)


def test_what_vlmevalkit_could_not_have_is_a_failure_not_a_wrong_answer(tmp_path):
    said = [
        "Failed to obtain answer via API.",
        "Failed to obtain answer.",
        "Failed to obtain answer via bailingMM API.",
        "I failed to obtain answer.",
    ]
    pd.DataFrame(rows_of(ITEMS, said)).to_csv(tmp_path / "s.tsv", sep="\t", index=False)
    rows = f.read_predictions(tmp_path / "s.tsv")
    assert [row["prediction"] for row in rows] == [None, None, None, said[3]] and [
        row.get("failed") for row in rows
    ] == [*said[:3], None]


def lmms(item, said, k, old=False):
    doc = {
        "id": int(item.id),
        "img_type": "single_view",
        "format_type": item.format,
        "task": item.task,
        "source": item.source,
        "question": item.text,
        "answer": item.answer,
    }
    if old:
        return {
            "doc_id": k,
            "doc": doc,
            "target": item.answer,
            "arguments": [["\nQ", {}]],
            "resps": [[said]],
            "filtered_resps": [said],
            "doc_hash": "x",
        }
    carried = {**doc, "prediction": said, "MRA:.5:.95:.05": 0.4}
    return {
        "doc_id": k,
        "target": item.answer,
        "filtered_resps": said,
        "token_counts": [None],
        "doc_hash": "x",
        "input": "\nQ",
        "sparbench_score": carried,
        "low": carried,
    }


@pytest.mark.parametrize("old", [False, True])
def test_samples_of_lmms_eval(tmp_path, old):
    path = lines(
        tmp_path / "s.jsonl", [lmms(i, s, k, old) for k, (i, s) in enumerate(zip(ITEMS, SAID))]
    )
    found = f.read_prediction_file(path)
    assert (
        found.kind == "lmms-eval"
        and picked(found.rows) == picked(rows_of(ITEMS, SAID))
        and found.rows[0]["source"] == "scannet"
    )


def test_a_request_that_lmms_eval_lost_is_a_failure_and_not_its_reason_scored(tmp_path):
    asked = [item(str(k), "2.0") for k in range(3)]
    said = [
        "2.0",
        "[LMMS_EVAL_REQUEST_FAILED after 2 retries] Connection error.",
        "[LMMS_EVAL_BUDGET_EXCEEDED]",
    ]
    path = lines(tmp_path / "s.jsonl", [lmms(i, s, k) for k, (i, s) in enumerate(zip(asked, said))])
    found = f.read_prediction_file(path)
    assert [row["prediction"] for row in found.rows] == ["2.0", None, None] and found.failed == 2
    assert found.rows[1]["failed"] == said[1] and score_rows(found.rows).metric.tolist() == [
        "mra",
        "failed",
        "failed",
    ]


def test_samples_without_their_document_are_joined_by_place_if_the_target_agrees(tmp_path):
    bare = [
        {"doc_id": k, "target": i.answer, "filtered_resps": s}
        for k, (i, s) in enumerate(zip(ITEMS, SAID))
    ]
    renamed = Benchmark(
        name="b",
        items=tuple(item(f"x{i.id}", i.answer, i.task, i.format, i.text) for i in ITEMS),
        official=True,
    )
    rows = f.read_predictions(lines(tmp_path / "s.jsonl", bare), renamed)
    assert [(row["id"], row["prediction"]) for row in rows] == [
        (f"x{k}", s) for k, s in enumerate(SAID)
    ]
    bare[1]["target"] = "C"
    found = f.read_prediction_file(lines(tmp_path / "s.jsonl", bare), renamed)
    assert (
        found.unknown == 1
        and found.missing == 1
        and found.rows[-1]["id"] == "x1"
        and found.rows[-1]["failed"]
    )


def test_duplicates_missing_and_unknown_are_counted_and_said(tmp_path):
    rows = rows_of(ITEMS[:2], SAID)
    many = [
        *rows,
        rows[0],
        {**rows[1], "prediction": "A"},
        {**rows[0], "prediction": None, "failed": "timeout"},
        {**rows[0], "id": "77"},
    ]
    said = []
    found = f.read_prediction_file(lines(tmp_path / "d.jsonl", many), BENCH)
    assert (found.duplicates, found.contradictions, found.missing, found.unknown) == (3, 2, 2, 1)
    assert [row["prediction"] for row in found.rows] == [SAID[0], "A", None, None] and [
        row["id"] for row in found.rows if row.get("failed")
    ] == ["2", "3"]
    f.read_predictions(tmp_path / "d.jsonl", BENCH, said.append)
    assert (
        "3 lines twice" in said[0]
        and "2 not in the file" in said[0]
        and "1 not in the benchmark" in said[0]
    )
    f.read_predictions(lines(tmp_path / "e.jsonl", rows_of(ITEMS, ["1"] * 4)), BENCH, said.append)
    assert len(said) == 1


def test_an_id_that_two_formats_share_must_name_its_format(tmp_path):
    twins = Benchmark(name="t", items=(item("0"), item("0", "B", format="select")), official=False)
    with pytest.raises(ValueError, match="2 times in the benchmark"):
        f.read_predictions(lines(tmp_path / "a", [{"id": "0", "prediction": "1"}]), twins)
    rows = f.read_predictions(
        lines(
            tmp_path / "a",
            [{"id": "0", "task": "depth_prediction_oc", "format": "select", "prediction": "B"}],
        ),
        twins,
    )
    assert [(row["format"], row["prediction"]) for row in rows] == [("select", "B"), ("fill", None)]


GOOD = {"id": "0", "task": "depth_prediction_oc", "answer": "1.5", "prediction": "1"}


@pytest.mark.parametrize(
    "text, says",
    [
        (json.dumps(GOOD) + '\n{"id": ', r":2: not JSON"),
        ("[1, 2]", "row 1: expected an object, found a int"),
        ("", "no rows"),
        ("[]", "no rows"),
        ("{" * 100_000, ":1: not JSON"),
        ("[" * 100_000, "not JSON"),
        (json.dumps({**GOOD, "prediction": ["1"]}), ":1: field 'prediction' holds a list"),
        (json.dumps({**GOOD, "id": None}), ":1: field 'id' is missing"),
        (json.dumps({**GOOD, "task": "cook"}), ":1: unknown task 'cook'"),
        (
            json.dumps({k: v for k, v in GOOD.items() if k != "prediction"}),
            ":1: field 'prediction' is missing",
        ),
        (
            json.dumps({"doc_id": 0, "target": "1", "filtered_resps": []}),
            ":1: field 'task' is missing",
        ),
        (
            json.dumps({"doc_id": 0, "target": "1", "filtered_resps": {"a": 1}}),
            ":1: field 'filtered_resps' holds no text",
        ),
        ("id,task,answer\n0,x,1", "column 'prediction'"),
        ("<html>prediction</html>", "neither JSON nor a table with a column 'prediction'"),
        (
            "index\ttask\tanswer\tprediction\n0\tdepth_prediction_oc\t1.5\t1\n1\tcook\t1.5\t1",
            "row 2: unknown task 'cook'",
        ),
        (
            "index\tprediction\ttask\n0\t1\tx\ty\tz\n0\t1\tx\ty\tz\tw",
            "row 1: 5 cells, but the header names 3",
        ),
    ],
)
def test_a_broken_row_is_named(tmp_path, text, says):
    path = tmp_path / "broken"
    path.write_text(text)
    with pytest.raises(ValueError, match=says) as error:
        f.read_predictions(path)
    assert str(error.value).startswith(str(path)) and len(str(error.value)) < len(str(path)) + 300


def test_files_that_are_none(tmp_path):
    with pytest.raises(ValueError, match="No such file"):
        f.read_predictions(tmp_path / "nowhere")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="neither a workbook nor UTF-8"):
        f.read_predictions(tmp_path / "bytes")
    (tmp_path / "zip").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(ValueError, match="not a readable workbook"):
        f.read_predictions(tmp_path / "zip")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        file.writestr("a.txt", "a")
    with pytest.raises(ValueError, match="not a readable workbook"):
        f.read_predictions(tmp_path / "other.zip")
    book = io.BytesIO()
    pd.DataFrame({"a": [1]}).to_excel(book, index=False)
    (tmp_path / "no.xlsx").write_bytes(book.getvalue())
    with pytest.raises(ValueError, match="no sheet has a column 'prediction'"):
        f.read_predictions(tmp_path / "no.xlsx")


def test_a_workbook_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sheets, "UNPACKED", 1 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.xlsx", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("xl/workbook.xml", "0" * (2 << 20))
    with pytest.raises(ValueError, match="unpacks to more than"):
        f.read_predictions(tmp_path / "bomb.xlsx")


def test_hostile_texts_stay_texts(tmp_path):
    said = ["<script>alert(1)</script>", "\u2028line\x0bbreak", "9" * 5000, '{"a": [1, NaN]}']
    found = f.read_predictions(lines(tmp_path / "h.jsonl", rows_of(ITEMS, said)))
    assert [row["prediction"] for row in found] == said


def test_it_is_scored(tmp_path):
    from spar_kit.bench.scorers.table import score_rows

    rows = f.read_predictions(
        lines(
            tmp_path / "s.jsonl",
            [
                lmms(i, s, k)
                for k, (i, s) in enumerate(zip(ITEMS, ["1.5", "(B)", ITEMS[2].answer, "9"]))
            ],
        )
    )
    assert score_rows(rows).score.tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize(
    "said, kept",
    [
        (None, None),
        ([None], None),
        ([], None),
        ([[]], None),
        (float("nan"), None),
        (1.5, "1.5"),
        ([2], "2"),
        ([["1.5", "x"]], "1.5"),
        ({"text": "1.5"}, "1.5"),
        (True, "True"),
    ],
)
def test_an_answer_that_is_null_fails_its_row_alone(tmp_path, said, kept):
    rows = [lmms(i, "1.5", k) for k, i in enumerate(ITEMS)]
    rows[2]["filtered_resps"] = said
    found = f.read_prediction_file(lines(tmp_path / "s.jsonl", rows))
    assert [row["prediction"] for row in found.rows] == [
        "1.5",
        "1.5",
        kept,
        "1.5",
    ] and found.failed == (kept is None)
    assert kept is not None or (
        "null" in found.rows[2]["failed"] and "1 without a prediction" in str(found)
    )


@pytest.mark.parametrize(
    "row, failed",
    [
        ({"prediction": float("nan")}, "the prediction is null"),
        ({"prediction": None, "failed": float("nan")}, "the prediction is null"),
        ({"prediction": "1.5", "failed": float("nan"), "source": float("nan")}, None),
        ({"prediction": float("nan"), "failed": "time\nout"}, "time out"),
        ({"prediction": ""}, None),
    ],
)
def test_nan_is_null(tmp_path, row, failed):
    path = lines(tmp_path / "a.jsonl", [{**GOOD, "format": float("nan"), **row}])
    found = f.read_predictions(path)
    assert found[0].get("failed") == failed and (found[0]["prediction"] is None) == bool(failed)
    with pytest.raises(ValueError, match="a.jsonl:1: field 'answer' is missing"):
        f.read_predictions(lines(path, [{**GOOD, "answer": float("nan")}]))


@pytest.mark.parametrize(
    "change, says",
    [
        ({"format": ["fill"]}, "field 'format' holds a list"),
        ({"format": "fil"}, "'fil' is none of fill"),
        ({"question": 5}, "field 'question' holds a int"),
        ({"question": {"a": 1}}, "field 'question' holds a dict"),
        ({"scene": []}, "field 'scene' holds a list"),
        ({"task": 7}, "unknown task '7'"),
        ({"task": ["x"]}, "field 'task' holds a list"),
        ({"id": True}, "field 'id' holds a bool"),
    ],
)
def test_a_field_that_is_no_text_is_named(tmp_path, change, says):
    path = lines(tmp_path / "a.jsonl", [GOOD, {**GOOD, "id": "1", **change}])
    with pytest.raises(RowError, match=rf"a.jsonl:2: .*{says}"):
        f.read_predictions(path)


def test_numbers_and_halves_of_characters_that_json_cannot_hold(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(
        json.dumps({**GOOD, "id": 2**70, "prediction": 10**40})
        + "\n"
        + json.dumps({**GOOD, "id": "\ud83d", "prediction": "half \ude00"})
        + "\n"
    )
    rows = f.read_predictions(path)
    assert [(row["id"], row["prediction"]) for row in rows] == [
        (str(2**70), str(10**40)),
        ("?", "half ?"),
    ]
    orjson.dumps(rows)
    path.write_text('{"id": ' + "9" * 5000 + "}")
    with pytest.raises(RowError, match="a.jsonl:1: not JSON"):
        f.read_predictions(path)
    path.write_text(json.dumps(GOOD)[:-1] + ', "x": ' + "[" * 900 + "]" * 900 + ', "y": NaN}')
    try:
        assert len(f.read_predictions(path)) == 1
    except RowError as error:
        assert "nested too deeply" in str(error)


JUDGED = ("obj_spatial_relation_oo", "judge")
CHOSEN = ("obj_spatial_relation_oc_mv", "select")


@pytest.mark.parametrize(
    "kind, truth, right, wrong",
    [
        (JUDGED, "False", "No", "Yes"),
        (JUDGED, "true", "Yes.", "No"),
        (JUDGED, "NO.", "No", "yes"),
        (JUDGED, False, "no", "Yes"),
        (JUDGED, "**Yes**", "Yes", "No"),
        (("position_matching", None), "False", "No", "Yes"),
        (CHOSEN, "B.", "B", "C"),
        (CHOSEN, "(B)", "B. lamp", "A"),
        (CHOSEN, "B. lamp", "(B)", "D"),
        (CHOSEN, " b ", "B", ""),
        (CHOSEN, "Option B", "B", "A"),
        (CHOSEN, "Answer: (B)", "B", "A"),
        (CHOSEN, "B) the lamp", "B", "C"),
        (("obj_spatial_relation_oc_mv", None), "(B)", "B", "C"),
    ],
)
def test_a_true_answer_in_another_form_is_recognised(tmp_path, kind, truth, right, wrong):
    task, form = kind
    path = lines(
        tmp_path / "a.jsonl",
        [
            {"id": str(k), "task": task, "format": form, "answer": truth, "prediction": said}
            for k, said in enumerate((right, wrong))
        ],
    )
    rows = f.read_predictions(path)
    assert score_rows(rows).score.tolist() == [1, 0] and rows[0]["answer_as_written"] == str(truth)
    assert score_rows(
        [{"id": "0", "task": task, "format": form, "answer": truth, "prediction": right}]
    ).score.tolist() == [1], "also where no file was read"


@pytest.mark.parametrize(
    "task, form, answer",
    [
        ("obj_spatial_relation_oo", "select", "A chair"),
        ("obj_spatial_relation_oo", "select", "Based on size"),
        ("obj_spatial_relation_oo", "select", "AB"),
        ("depth_prediction_oc", "fill", "B"),
        ("obj_spatial_relation_oo", "sentence", "It is true."),
        ("obj_spatial_relation_oo", "select", "G"),
        ("obj_spatial_relation_oo", "judge", "Yes and no"),
        ("spatial_imagination_oo", "select", "False"),
    ],
)
def test_other_texts_are_left_as_they_are(task, form, answer):
    assert canonical_answer(answer, task, form) == answer


def test_the_official_scorer_gets_the_true_answer_as_it_was_written(tmp_path):
    path = lines(
        tmp_path / "a.jsonl",
        [
            {
                "id": "0",
                "task": "position_matching",
                "format": "select",
                "answer": "(B)",
                "prediction": "(b)",
            }
        ],
    )
    assert [
        score_rows(f.read_predictions(path), flavour).score[0]
        for flavour in ("official", "easi", "strict")
    ] == [1, 1, 1]


def test_one_id_with_two_true_answers_in_a_file_is_refused(tmp_path):
    same = [GOOD, {**GOOD, "answer": "1.50", "prediction": "2"}]
    assert f.read_prediction_file(lines(tmp_path / "a.jsonl", same)).contradictions == 1
    with pytest.raises(
        RowError, match=r"a.jsonl:2: id '0' is there twice with two true answers, '1.5' and '2.5'"
    ):
        f.read_prediction_file(lines(tmp_path / "a.jsonl", [GOOD, {**GOOD, "answer": "2.5"}]))


@pytest.mark.parametrize(
    "numbers, said, lost",
    [
        ([0, 0, 0], ["1.5", "x", "9"], True),
        ([0, 0, 1], ["1.5", "x", "1.5"], False),
        ([0, 0, 0], ["9", "x", "7"], False),
        ([0.0], ["1.5"], True),
    ],
)
def test_numbers_that_lmms_eval_lost_are_explained(tmp_path, numbers, said, lost):
    rows = [lmms(item(str(k)), text, k) for k, text in enumerate(said)]
    for row, number in zip(rows, numbers):
        row["sparbench_score"]["MRA:.5:.95:.05"] = number
    found = f.read_prediction_file(lines(tmp_path / "s.jsonl", rows))
    assert ("from functools import partial" in str(found)) == lost == (not found.plain)


def test_files_that_would_hang_or_are_folders(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(RowError, match="is not a file"):
            f.read_predictions(path)
