"""Sheets as people and programs leave them: quotes, separators, encodings, formulas, missing
values, sizes that are wrong; no row lost in silence."""

import io
import re
import time
import zipfile

import pandas as pd
import pytest
from openpyxl import Workbook

from spar_kit.bench.interop import sheets
from spar_kit.bench.interop.prediction_files import read_prediction_file
from spar_kit.bench.rows import RowError
from spar_kit.bench.scorers.easi import easi_score

TASK = "depth_prediction_oc"


def read(tmp_path, data, name="a.tsv"):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_prediction_file(path)


def said(found):
    return [row["prediction"] for row in found.rows]


def tsv(*said, mark="\t"):
    return (
        "\n".join(
            [
                mark.join(("id", "task", "answer", "prediction")),
                *(mark.join((str(k), TASK, "1.5", text)) for k, text in enumerate(said)),
            ]
        )
        + "\n"
    )


@pytest.mark.parametrize(
    "texts",
    [
        ['"1.5 m', "1.5", "9", '1.5"', "1.5"],
        ['"', "1", '"'],
        ['the "lamp" is 1.5', "2", 'a"'],
        ['""1.5', "2", "3"],
        ['"unclosed', "1.5", "2.0"],
    ],
)
def test_a_stray_quotation_mark_swallows_no_row(tmp_path, texts):
    assert said(read(tmp_path, tsv(*texts))) == [
        text if not (text.startswith('"') and text.endswith('"') and len(text) > 1) else text[1:-1]
        for text in texts
    ]


@pytest.mark.parametrize("kind, mark", [("tsv", "\t"), ("csv", ",")])
@pytest.mark.parametrize("quoting", [0, 1])
def test_what_pandas_writes_is_read_as_it_was(tmp_path, kind, mark, quoting):
    texts = [
        'say "1.5"',
        "a\nb, c\td\n\ne",
        '"quoted"',
        "1,5; 2",
        "x\r\ny",
        f'0\n1{mark}{TASK}\n"',
    ] + ["plain"] * 3
    frame = pd.DataFrame({"id": range(9), "task": TASK, "answer": "1.5", "prediction": texts})
    frame.to_csv(tmp_path / f"a.{kind}", sep=mark, index=False, quoting=quoting)
    assert said(read_prediction_file(tmp_path / f"a.{kind}")) == texts


def test_where_nobody_can_tell_the_file_is_refused(tmp_path):
    text = tsv('"1', '2"', "3") + f'3\t{TASK}\t1.5\t"two\nlines"\n'
    with pytest.raises(
        RowError, match=r"a.tsv: row 1: a cell in quotation marks holds lines that look like rows"
    ):
        read(tmp_path, text)
    with pytest.raises(
        RowError, match="a.tsv: a quotation mark opens or closes in the wrong place"
    ):
        read(tmp_path, tsv("1") + f'1\t{TASK}\t1.5\t"never\nclosed\n')


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.encode("utf-16"),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("\n", "\r").encode(),
        lambda text: ("sep=\t\n" + text).encode(),
    ],
)
def test_encodings_and_line_ends(tmp_path, encode):
    assert said(read(tmp_path, encode(tsv("1.5 m", "été", "2")))) == ["1.5 m", "été", "2"]


def test_semicolons_bring_decimal_commas(tmp_path):
    found = read(
        tmp_path,
        "id;task;answer;prediction\n0;depth_prediction_oc;1,5;1,4\n1;depth_prediction_oc;2;about"
        ' 1,4 m\n2;depth_prediction_oc;2;"a;b"\n',
        "a.csv",
    )
    assert [(row["answer"], row["prediction"]) for row in found.rows] == [
        ("1.5", "1.4"),
        ("2", "about 1,4 m"),
        ("2", "a;b"),
    ]
    found = read(tmp_path, "id;task;answer;prediction\n0;depth_prediction_oc;1.5;1,200\n", "a.csv")
    assert said(found) == ["1,200"], "a sheet that writes points has no decimal commas"


@pytest.mark.parametrize("text", ["N/A", "null", "None", "NA", "nan", "#N/A", "<NA>"])
def test_what_pandas_takes_for_missing_is_scored_as_vlmevalkit_scores_it(tmp_path, text):
    for name, data in (("a.tsv", tsv("1.5", text)), ("a.csv", tsv("1.5", text, mark=","))):
        found = read(tmp_path, data, name)
        theirs = [
            str(value)
            for value in pd.read_csv(tmp_path / name, sep="\t" if name == "a.tsv" else ",")[
                "prediction"
            ]
        ]
        assert (
            said(found) == theirs
            and found.read.missing == 1
            and "missing values to VLMEvalKit" in str(found)
        )
        assert easi_score("obj_spatial_relation_oo", "A", said(found)[1]) == 0, (
            "the A of N/A is no choice"
        )
    assert said(read(tmp_path, tsv("N/A it is", "nano"))) == ["N/A it is", "nano"]


def book(rows, patch=None):
    made = Workbook()
    out = io.BytesIO()
    for row in rows:
        made.active.append(row)
    made.save(out)
    with zipfile.ZipFile(out) as archive:
        parts = {part.filename: archive.read(part) for part in archive.infolist()}
    if patch:
        name = "xl/worksheets/sheet1.xml"
        parts[name] = patch(parts[name].decode()).encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return out.getvalue()


HEAD = ("id", "task", "answer", "prediction")


@pytest.mark.parametrize("dimension", ["A1:D2", "A1", "A1:B3", "A1:XFD1048576", "", "Z9:Z9"])
def test_a_workbook_that_states_a_wrong_size_loses_no_row(tmp_path, dimension):
    rows = [(k, TASK, 1.5, f"{k}.5") for k in range(60)]
    found = read(
        tmp_path,
        book(
            [HEAD, *rows],
            lambda xml: xml.replace(
                '<dimension ref="A1:D61"/>', f'<dimension ref="{dimension}"/>' if dimension else ""
            ),
        ),
        "a.xlsx",
    )
    assert said(found) == [row[3] for row in rows]


def test_escapes_of_workbooks(tmp_path):
    texts = [
        "B_x000D_\n",
        "_x0009_1.5",
        "a_x000D__x000A_b",
        "x_y000D_z",
        "smile _xD83D__xDE00_",
        "half _xD83D_",
    ]
    found = read(
        tmp_path, book([HEAD, *((k, TASK, 1.5, text) for k, text in enumerate(texts))]), "a.xlsx"
    )
    assert said(found) == [
        "B\r\n",
        "\t1.5",
        "a\r\nb",
        "x_y000D_z",
        "smile \U0001f600",
        "half \ufffd",
    ]


def test_formulas_are_their_stored_values_as_pandas_reads_them(tmp_path):
    data = book(
        [
            HEAD,
            (0, TASK, 1.5, "about 1.5"),
            (1, TASK, 1.5, "=5+2.5"),
            (2, TASK, 1.5, "=A1"),
            (3, TASK, 1.5, "=B1"),
        ],
        lambda xml: re.sub(
            r"(<f>5\+2.5</f>)<v ?/>",
            r"\1<v>7.5</v>",
            re.sub(r"(<f>B1</f>)<v ?/>", r"\1<v>0</v>", xml.replace("<v></v>", "<v/>")),
        ),
    )
    found = read(tmp_path, data, "a.xlsx")
    theirs = pd.read_excel(tmp_path / "a.xlsx")["prediction"]
    assert (
        said(found)
        == [("" if value != value else str(value)) for value in theirs]
        == ["about 1.5", "7.5", "", "0"]
    )
    assert found.read.formulas == 3 and "formulas" in str(found)
    kept = read(tmp_path, tsv("=A1", "=5+2"))
    assert said(kept) == ["=A1", "=5+2"] and kept.read.formulas == 0, (
        "in a table of text they are text to pandas, too"
    )


def test_cells_of_every_type(tmp_path):
    found = read(
        tmp_path,
        book(
            [
                HEAD,
                (1.0, TASK, 2.0, True),
                (None,) * 4,
                (2**40, TASK, 1.25, 3),
                ("x", TASK, 1, None),
                ("y", TASK, 1),
            ]
        ),
        "a.xlsx",
    )
    assert [(row["id"], row["answer"], row["prediction"]) for row in found.rows] == [
        ("1", "2", "True"),
        (str(2**40), "1.25", "3"),
        ("x", "1", ""),
        ("y", "1", ""),
    ]


def test_rows_that_end_early_or_late(tmp_path):
    found = read(tmp_path, f"id\ttask\tanswer\tprediction\n0\t{TASK}\t1.5\t1\n1\t{TASK}\t1.5\n")
    assert said(found) == ["1", None] and found.failed == 1 and found.read.short == 1
    with pytest.raises(RowError, match="row 1: 5 cells, but the header names 4"):
        read(tmp_path, f"id\ttask\tanswer\tprediction\n0\t{TASK}\t1.5\t1\t2\n")
    with pytest.raises(RowError, match="two columns are named 'prediction'"):
        read(tmp_path, f"id\ttask\tanswer\tprediction\tPrediction\n0\t{TASK}\t1.5\t1\t2\n")


def test_a_million_rows_are_refused_before_they_are_parsed(tmp_path):
    cells = (
        '<c r="A1"><v>1</v></c><c'
        f' t="inlineStr"><is><t>{TASK}</t></is></c><c><v>1</v></c><c><v>1</v></c>'
    )
    data = book(
        [HEAD],
        lambda xml: xml.replace("</sheetData>", f"<row>{cells}</row>" * 1_000_000 + "</sheetData>"),
    )
    began = time.monotonic()
    with pytest.raises(RowError, match=r"a.xlsx: a workbook that has more than 200,000 rows"):
        read(tmp_path, data, "a.xlsx")
    assert time.monotonic() - began < 20
    with pytest.raises(RowError, match=r"a.tsv: 200,001 rows; at most 200,000"):
        read(tmp_path, "id\tprediction\n" + "1\t2\n" * 200_001)


@pytest.mark.parametrize(
    "declaration", ['<!DOCTYPE a [<!ENTITY b "c">]>', '<!ENTITY b SYSTEM "file:///etc/passwd">']
)
def test_declarations_in_a_workbook_are_refused(tmp_path, declaration):
    with pytest.raises(RowError, match="declares a document type"):
        read(
            tmp_path,
            book(
                [HEAD, (1, TASK, 1, 1)],
                lambda xml: xml.replace("<worksheet", declaration + "<worksheet", 1),
            ),
            "a.xlsx",
        )


def test_the_module_leaves_the_csv_modules_limit_alone(tmp_path):
    import csv

    before = csv.field_size_limit()
    assert (
        len(said(read(tmp_path, tsv("x" * 300_000)))[0]) == 300_000
        and csv.field_size_limit() == before
    )
    assert sheets.MAX_SHEET_ROWS == 200_000, "stated in the page"
