"""Pictures and the page of scores: what they show is what the tables say, and whatever a model
writes stays text, also in a browser."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import orjson
import pandas as pd
import pytest
from PIL import Image

from spar_kit.bench.analysis.factors import item_factors
from spar_kit.bench.analysis.published import benchmark_tasks, leaderboard
from spar_kit.bench.analysis.statistics import intervals, overall_intervals, paired_difference
from spar_kit.bench.baselines.blind import blind_gap
from spar_kit.bench.scorers.table import score_file, score_rows
from spar_kit.report.charts import (
    CHART_COLORS,
    GREYS,
    escape_label,
    is_blind,
    plot_differences,
    plot_levels,
    plot_published,
    plot_tasks,
    run_colors,
    shorten,
)
from spar_kit.report.error_charts import (
    errors_by_distance,
    escape_controls,
    losses_by,
    plot_confusion,
    relations,
    relative_errors,
    worst_misses,
)
from spar_kit.report.page import html_table, page
from spar_kit.report.run_set import (
    CONSTANT,
    describe_best,
    headline,
    load_runs,
    run_titles,
    verdict,
)
from spar_kit.report.score_report import parts, write_score_report
from spar_kit.report.score_sections import cards

EVIL = [
    "<script>document.title='owned'</script>",
    "</script><img src=x onerror=\"document.title='owned'\">",
    "<svg/onload=document.title='owned'>",
    "\x00\x1b[31mred\u202e\ud83d",
    "9" * 100_000,
    "",
    "<!-- <b>",
    '{"answer": "B"}',
    "<think>" + "A or B. " * 3000 + "</think>",
    "答案不知道",
    "'\"><a href=javascript:alert(1)>x</a>",
    "{{ 7 * 7 }}${7*7}",
]


FOUR = ("depth_prediction_oc", "position_matching", "view_change_infer", "obj_spatial_relation_oo")


def rows_of(skill, seed, count=50, tasks=None):
    """SPAR-Bench-Tiny's counts: a run that is right with a probability, and numbers that spread."""
    rng = np.random.default_rng(seed)
    truth = np.random.default_rng(99)
    out = []  # the questions are the same, whoever answers
    for task in tasks or benchmark_tasks():
        for k in range(count):
            if task.startswith(("depth", "distance_pred")):
                answer = f"{truth.uniform(0.3, 7):.1f}"
                asked = "How far is the lamp (red point) from the <b>chair</b> (blue point)?"
                said = f"{float(answer) * np.exp(rng.normal(0, 1 - skill)):.1f}"
            elif task == "view_change_infer":
                answer = "move_right:0.5,rotate_left:30"
                asked = "What moved?"
                said = "move_right:0.5,rotate_left:30" if rng.random() < skill else "move_up:1"
            else:
                answer = "ABCD"[k % 4]
                asked = (
                    "Where is the sofa (red bbox)?\nA. left, , closer\nB. right, above, closer\nC."
                    " left, below, farther\nD. , above, "
                )
                said = answer if rng.random() < skill else "A"
            out.append(
                dict(id=f"{task}-{k}", task=task, question=asked, answer=answer, prediction=said)
            )
    return out


def scored(skill, seed, **options):
    return score_rows(rows_of(skill, seed, **options))


def write(path, rows):
    path.write_bytes(
        b"".join(
            orjson.dumps(
                {**row, "prediction": row["prediction"].encode("utf-8", "replace").decode()}
            )
            + b"\n"
            for row in rows
        )
    )
    return path


# ---- figures
def test_bars_are_the_table():
    runs = {"a": scored(0.5, 0, tasks=FOUR), "blind: text": scored(0.2, 1, tasks=FOUR)}
    figure = plot_tasks(runs)
    found = intervals(runs["a"], samples=1000)
    assert (
        list(figure.data[0].y) == list(found.task)
        and np.allclose(figure.data[0].x, found.score)
        and np.allclose(figure.data[0].error_x.array, found.high - found.score)
    )
    assert (
        figure.data[1].marker.color == GREYS[0] and figure.data[0].marker.color == CHART_COLORS[0]
    )


def test_twenty_tasks_and_six_runs_have_room():
    names = [f"run number {k} with quite a long name" for k in range(6)]
    figure = plot_tasks({name: scored(0.4, k, count=6) for k, name in enumerate(names)}, samples=50)
    assert (figure.layout.height - figure.layout.margin.t - 52) / 120 >= 12, "pixels for each bar"
    assert (
        len(set(run_colors(names).values())) == 6
        and len({bar.marker.pattern.shape for bar in figure.data}) == 6
    )
    levels = plot_levels(
        {name: scored(0.4, k, count=6) for k, name in enumerate(names)}, samples=50
    )
    places = np.concatenate([trace.y for trace in levels.data])
    assert len(set(places.round(6))) == len(places) == 24, "no dot lies on another run's"
    assert len({trace.marker.symbol for trace in levels.data}) == 6


def test_a_run_keeps_its_colour_and_shape_across_pictures():
    runs = {name: scored(0.3 + 0.1 * k, k, tasks=FOUR) for k, name in enumerate("abc")}
    levels = {trace.name: trace for trace in plot_levels(runs).data}
    apart = plot_differences(
        {name: paired_difference(runs[name], runs["a"]) for name in "bc"}, runs=list(runs)
    )
    for trace in apart.data:
        assert (
            trace.marker.line.color == levels[trace.name].marker.line.color
            and trace.marker.symbol == levels[trace.name].marker.symbol
        )


def test_differences_are_filled_where_zero_is_left_out():
    a = scored(0.8, 0, tasks=FOUR)
    b = scored(0.3, 1, tasks=FOUR)
    found = paired_difference(a, b)
    figure = plot_differences(found)
    full = [color != "white" for color in figure.data[0].marker.color]
    assert (
        full == list((found.low > 0) | (found.high < 0))
        and any(full)
        and np.allclose(figure.data[0].x, 100 * found.difference)
    )


def test_the_run_stands_in_its_place_among_the_published():
    mine = overall_intervals(scored(0.6, 0, count=5))
    figure = plot_published(leaderboard("tiny"), {"<i>mine</i>": mine})
    order = list(figure.layout.yaxis.categoryarray)
    scores = {
        **dict(zip(leaderboard("tiny").model, leaderboard("tiny").score)),
        "&lt;i&gt;mine&lt;/i&gt;": mine.score.iloc[-1],
    }
    assert "&lt;i&gt;mine&lt;/i&gt;" in order and [scores[name] for name in order] == sorted(
        (scores[name] for name in order), reverse=True
    )
    assert {note.text for note in figure.layout.annotations} == {"Human"}, (
        "people are a line; chance is published for the full set"
    )


def test_names():
    assert (
        is_blind("blind: constant")
        and is_blind("blind-grey")
        and not is_blind("blinds")
        and shorten("a" * 60).count("a") == 43
    )
    assert escape_label("<a href='x'>n</a>\x07") == "&lt;a href='x'&gt;n&lt;/a&gt; "
    assert run_titles(
        [
            *map(
                __import__("pathlib").Path,
                (
                    "x/after.jsonl",
                    "y/after.jsonl",
                    "y/blind_text.jsonl",
                    "y/predictions_gray.jsonl",
                    "z/greyhound.jsonl",
                ),
            )
        ]
    ) == ["x/after", "y/after", "blind_text", "predictions_gray", "greyhound"]


# ---- errors
def test_relative_errors_by_hand():
    rows = [
        dict(id=f"r_{k}", task="depth_prediction_oc", answer="2.0", prediction=said)
        for k, said in enumerate(("2.5", "1", "20", "far"))
    ]
    rows.append(dict(id="m_0", task="position_matching", answer="A", prediction="B"))
    scores = score_rows(rows)
    assert relative_errors(scores).tolist()[:4] == [0.25, 0.5, 1, 1] and np.isnan(
        relative_errors(scores).iloc[4]
    )
    found = errors_by_distance(scores)
    assert (
        found.level.tolist() == ["2 to 3 m"]
        and found.error[0] == pytest.approx(2.75 / 4)
        and errors_by_distance(scores.iloc[4:]).empty
    )


def test_losses_by_a_factor():
    rows = [
        dict(
            id=f"r_{k}",
            task="position_matching",
            answer="A",
            prediction="A" if k % 4 else "B",
            source="one" if k < 20 else "two",
        )
        for k in range(40)
    ]
    found = losses_by(score_rows(rows), item_factors(rows), "source")
    assert (
        found.level.tolist() == ["one", "two"]
        and found.error.tolist() == [0.25, 0.25]
        and found["items"].tolist() == [20, 20]
    )


def test_confusion_counts_pairs_of_words():
    text = "Where?\nA. left, , closer, front, behind\nB. right, above, farther, behind, front"
    rows = [
        dict(
            id=f"r_{k}",
            task="obj_spatial_relation_oo_mv",
            question=text,
            answer="A",
            prediction=said,
        )
        for k, said in enumerate("AAB?")
    ]
    rows += [
        dict(
            id="c",
            task="obj_spatial_relation_oc_mv",
            question="Where?\nA. left, below, front\nB. left, , behind",
            answer="B",
            prediction="A",
        ),
        dict(
            id="j",
            task="obj_spatial_relation_oo",
            format="judge",
            question="Is the lamp nearer than the sofa?",
            answer="Yes",
            prediction="no",
        ),
        dict(
            id="x",
            task="depth_prediction_oc",
            question="Left or above?",
            answer="1.0",
            prediction="1",
        ),
    ]
    found = relations(rows, score_rows(rows)).set_index(["pair", "gold", "said"])["items"].to_dict()
    assert (
        found[0, "left", "left"] == 3
        and found[0, "left", "right"] == 1
        and found[0, "left", "not read"] == 1
    )
    assert (
        found[1, "neither", "above"] == 1
        and found[1, "neither", "below"] == 1
        and found[3, "behind", "front"] == 1
        and found[2, "closer", "farther"] == 2
    )
    figure = plot_confusion(relations(rows, score_rows(rows)))
    assert len(figure.data) == 4 and all(
        np.allclose(np.sum(square.z, axis=1), 1) for square in figure.data
    )
    with pytest.raises(ValueError, match="no relation question"):
        plot_confusion(relations(rows[-1:], score_rows(rows[-1:])))


def test_the_worst_come_first_each_task_in_turn():
    rows = [
        dict(id=f"d{k}", task="depth_prediction_oc", answer="2.0", prediction=said)
        for k, said in enumerate(("2.0", "0.1", "9", "1e9", "none", "2.1"))
    ]
    rows += [
        dict(id=f"m{k}", task="position_matching", answer="A", prediction="AAAB"[k])
        for k in range(4)
    ]
    found = worst_misses(score_rows(rows), each=2)
    assert found.id.tolist() == ["d3", "d1", "m3"] and found.why.tolist() == [
        "off by a factor over 1,000",
        "off by a factor of 20.0",
        "wrong, where the run scores 75% on the whole",
    ]
    assert (
        worst_misses(score_rows(rows[:1])).empty
        and worst_misses(score_rows(rows), each=9).id.tolist()[3] == "d4"
    )


def test_visible():
    assert (
        escape_controls("a\x1bb\u202e") == "a⟨1B⟩b⟨202E⟩"
        and escape_controls("\ud83d") == "⟨D83D⟩"
        and escape_controls("x" * 500, 10) == "xxxxxxxxxx … (500 characters)"
        and escape_controls("a\nb\tc") == "a\nb\tc"
    )


# ---- the page
def test_one_run_and_a_blind_one(tmp_path):
    files = [
        write(tmp_path / f"{name}.jsonl", rows_of(skill, seed))
        for name, skill, seed in (("model", 0.6, 0), ("predictions_none", 0.3, 2))
    ]
    said, out = write_score_report(files, tmp_path / "new" / "report.html")
    text = out.read_text()
    assert said.startswith("model: ") and "1,000 questions" in said and "without looking" in said
    assert re.findall(r'<h2 id="([\w-]+)"', text) == [
        "overall",
        "three-scorers",
        "task-by-task",
        "blind-baselines",
        "chance-adjusted-scores",
        "factors",
        "errors",
        "published-results",
        "largest-errors",
        "how-this-page-was-made",
    ]
    assert "https://" not in re.sub(r"<script(?! type)[^>]*>.*?</script>", "", text, flags=re.S), (
        "nothing outside is needed"
    )
    assert not list(tmp_path.rglob("*.part"))


def test_the_same_files_give_the_same_numbers(tmp_path):
    runs = [
        load_runs(
            {
                "a": rows_of(0.6, 0, tasks=["position_matching", "depth_prediction_oc"]),
                "b": rows_of(0.4, 1, tasks=["position_matching", "depth_prediction_oc"]),
            }
        )
        for _ in range(2)
    ]
    assert (
        headline(runs[0]) == headline(runs[1])
        and "b against a: " in headline(runs[0])
        and runs[0].main == "a"
        and runs[0].reference == "a"
    )


def test_every_comparison_shows_the_lead_over_not_looking():
    """Without a blind run the best letter of each task stands in for one; what a run leads it by is
    in the first table and in the first lines."""
    rows = [
        dict(
            id=f"r{k // 5}_{k}",
            task="position_matching",
            answer="AABC"[k % 4],
            prediction="AABC"[k % 4] if k % 10 else "D",
        )
        for k in range(200)
    ]
    runs = load_runs({"a": rows, "b": [{**row, "prediction": "C"} for row in rows]})
    assert (
        list(runs.blind) == [CONSTANT]
        and set(runs.scores[CONSTANT].prediction) == {"A"}
        and runs.main == "a"
    )
    assert runs.gains["a"].difference["all"] == pytest.approx(0.9 - 0.5) and runs.gains[
        "b"
    ].difference["all"] == pytest.approx(0.25 - 0.5)
    made = parts(runs)
    assert (
        "+40.0 (" in made["Overall"][0].html
        and "−25.0 (" in made["Overall"][0].html
        and "not looking" not in headline(runs)
        and "without looking: +40.0" in headline(runs)
    )
    mine = load_runs(
        {"a": rows, "blind: images none": [{**row, "prediction": "B"} for row in rows]}
    )
    assert (
        list(mine.blind) == ["blind: images none"]
        and "--images all" not in parts(mine)["Blind baselines"][0].html
    )


def test_one_comparison_has_the_colour_of_its_run():
    runs = load_runs(
        {
            name: rows_of(skill, seed, 20, FOUR)
            for name, skill, seed in (("a", 0.4, 0), ("b", 0.7, 1))
        }
    )
    made = parts(runs)
    for heading in ("Compared", "Blind baselines"):
        shown = next(piece for piece in made[heading] if not hasattr(piece, "html"))
        assert (
            shown.data[0].marker.line.color == CHART_COLORS[1]
            and shown.data[0].marker.symbol == "square"
            and not shown.layout.showlegend
        )


def test_a_verdict_of_one_row_among_many_is_doubted():
    assert [
        verdict(*row)
        for row in (
            (0.01, 0.2, 0.04),
            (0.01, 0.2, 0.2),
            (-0.2, -0.01, 0.3),
            (-0.2, -0.01, 0.001),
            (-0.1, 0.1, 0.001),
            (0, 0.1, 0.9),
        )
    ] == ["better", "perhaps better", "perhaps worse", "worse", "cannot tell", "cannot tell"]


def test_an_official_page_says_what_official_means():
    made = parts(load_runs({"a": rows_of(0.6, 0, 10)}, "official"))
    assert (
        "leaves <i>view_change_infer</i> out" in made["Overall"][1].html
        and "its own matter" in made["Overall"][3].html
    )
    assert "leaves <i>view_change_infer</i> out" in made["Three scorers"][1].html, (
        "also where official is one of three"
    )


def test_nothing_scored_is_said(tmp_path):
    """All failed, or only free sentences: a page that says so."""
    failed = [
        dict(id=f"r_{k}", task="position_matching", answer="A", prediction=None, failed="time out")
        for k in range(5)
    ]
    free = [
        dict(
            id=f"r_{k}",
            task="position_matching",
            format="sentence",
            answer="It stands by the door.",
            prediction="x",
        )
        for k in range(5)
    ]
    for rows in (failed, free):
        runs = load_runs({"a": rows})
        assert "no rule for any of these questions, or all of them failed" in headline(
            runs
        ) and "Overall" in parts(runs)


def test_answers_of_other_kinds_do_without_the_parts_that_know_nothing():
    rows = [
        dict(
            id=f"r{k // 5}_{k}",
            task="obj_spatial_relation_oo",
            format="judge",
            answer="Yes",
            prediction="yes" if k % 3 else "no",
        )
        for k in range(40)
    ]
    rows += [dict(id="f", task="position_matching", answer="A", prediction=None, failed="time out")]
    made = parts(load_runs({"judge": rows}))
    assert not {"Compared", "Published results"} & set(made)
    assert (
        "Blind baselines" in made
        and "constant" in made["Blind baselines"][0].html
        and "--images all" in made["Blind baselines"][0].html
    )
    assert re.findall(r">([\d,]+)</td>", made["Overall"][2].html)[:4] == ["41", "1", "40", "0"], (
        "asked, failed, scored, not read"
    )
    with pytest.raises(ValueError, match="at least one run with images"):
        load_runs({"blind": rows})


def test_pictures_come_from_the_benchmark(tmp_path):
    scene = tmp_path / "spar/toy"
    folder = scene / "qa_jsonl/val/position_matching/select"
    folder.mkdir(parents=True)
    (scene / "images/r/image_color").mkdir(parents=True)
    for k in range(2):
        Image.new("RGB", (64, 48), (200, 30, 30)).save(scene / f"images/r/image_color/{k}.jpg")
    record = {
        "id": "r_0",
        "type": "position_matching",
        "image": ["r/image_color/0.jpg", "r/image_color/1.jpg"],
        "red_bbox": [[100, 100, 400, 400]],
        "bbox_img_idx": [[0]],
        "conversations": [
            {"from": "human", "value": "Where?\nA. here\nB. there"},
            {"from": "gpt", "value": "B"},
        ],
    }
    (folder / "select_0.jsonl").write_bytes(orjson.dumps(record))
    answers = write(
        tmp_path / "a.jsonl",
        [
            dict(
                id="r_0",
                task="position_matching",
                format="select",
                answer="B",
                prediction="A",
                question="Where?\nA. here\nB. there",
            )
        ],
    )
    _, out = write_score_report([answers], tmp_path / "r.html", benchmark=str(tmp_path))
    assert out.read_text().count("data:image/jpeg;base64") == 2
    with pytest.raises(ValueError, match="none of its questions"):
        write_score_report(
            [write(tmp_path / "b.jsonl", rows_of(0.5, 0, 3))],
            tmp_path / "r.html",
            benchmark=str(tmp_path),
        )


def test_spar_compare_as_typed(tmp_path):
    files = [
        write(
            tmp_path / f"{name}.jsonl",
            rows_of(skill, k, 20, ["position_matching", "depth_prediction_oc"]),
        )
        for k, (name, skill) in enumerate((("a", 0.6), ("b", 0.5)))
    ]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from spar_kit.cli.main import main; main()",
            "compare",
            *map(str, files),
            "--out",
            str(tmp_path / "r.html"),
            "--flavour",
            "official",
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (
        done.returncode == 0
        and done.stdout.splitlines()[-1] == str(tmp_path / "r.html")
        and "official scorer" in done.stdout
    ), done.stderr


def test_spar_compare_where_a_task_has_no_scorable_question(tmp_path):
    """The answer is in no unit anybody knows: the run has no score there, nor has any blind one.
    `spar evaluate --data` takes the same way."""
    unknown = dict(
        id="r_0", task="depth_prediction_oc", question="How deep?", answer="?", prediction="2"
    )
    files = [
        write(tmp_path / f"{name}.jsonl", [*rows_of(skill, k, 20, ["position_matching"]), unknown])
        for k, (name, skill) in enumerate(
            (("given", 0.7), ("blind_constant", 0.3), ("blind_text", 0.2))
        )
    ]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from spar_kit.cli.main import main; main()",
            "compare",
            *map(str, files),
            "--out",
            str(tmp_path / "r.html"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == str(tmp_path / "r.html"), (
        done.stderr
    )
    given, *blind = map(score_file, files)
    table = blind_gap(given, dict(zip(("constant", "text"), blind)))
    assert list(table.task) == ["position_matching"] and table.gap.notna().all()


def test_the_best_of_runs_that_are_worse_than_blind_is_not_called_best():
    """Six runs, all below the best answer without looking; then one just above it, then one far
    above."""
    rooms = [
        dict(row, id=f"room{k % 20}-{row['id']}") for k, row in enumerate(rows_of(0.1, 0, 60, FOUR))
    ]

    def six(*skills):
        return load_runs(
            {
                f"run {k}": [
                    dict(row, id=f"room{n % 20}-{row['id']}")
                    for n, row in enumerate(rows_of(skill, k, 60, FOUR))
                ]
                for k, skill in enumerate(skills)
            }
            | {
                "blind: text": [
                    dict(row, prediction=row["answer"] if n % 10 < 5 else "E")
                    for n, row in enumerate(rooms)
                ]
            }
        )

    said = describe_best(six(0.05, 0.06, 0.07, 0.05, 0.1, 0.12))
    assert (
        said.startswith(
            "None of 6 runs scores above the best answer without looking. The highest is run "
        )
        and "Best of" not in said
        and "points against" in said
    )
    found = six(0.05, 0.05, 0.05, 0.05, 0.05, 0.4)
    gap = found.gains["run 5"].loc["all"]
    assert (
        gap.low <= 0 < gap.difference
        and describe_best(found).startswith("Highest of 6 runs: run 5, +")
        and describe_best(found).endswith("that it looks is not shown.")
    )
    assert describe_best(six(0.05, 0.05, 0.05, 0.05, 0.05, 0.95)).startswith(
        "Best of 6 runs: run 5, +"
    )
    assert (
        describe_best(load_runs({"a": [dict(row, prediction=None, failed="x") for row in rooms]}))
        == "No answer of these runs could be scored."
    )


# ---- hostile answers
@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A report in which a quarter of the answers, a question, an id, a source, a reason and a
    file's name try to be code."""
    folder = tmp_path_factory.mktemp("hostile")
    rows = rows_of(0.9, 0, 60, FOUR)
    for k in range(0, len(rows), 4):
        rows[k]["prediction"] = EVIL[(k // 4) % len(EVIL)]
    rows[1] |= {
        "question": EVIL[0] + "How deep?",
        "id": EVIL[1],
        "prediction": "900",
        "source": EVIL[2],
    }
    write(folder / "<img src=x onerror=alert(1)>.jsonl", rows)
    write(folder / "%{x} <b>bold.jsonl", rows_of(0.1, 3, 60, FOUR))
    return write_score_report(sorted(folder.glob("*.jsonl")), folder / "report.html", misses=40)[1]


def test_hostile_answers_are_text(hostile):
    # plotly.js itself
    body = re.sub(
        r"<script(?! type)[^>]*>.*?</script>", "", hostile.read_text(), count=1, flags=re.S
    )
    data = re.findall(r'<script type="application/json">(.*?)</script>', body, re.S)
    assert all(json.loads(figure) for figure in data) and len(data) == 7
    rest = re.sub(r'<script type="application/json">.*?</script>', "", body, flags=re.S)
    assert "<script>document" not in rest and not re.search(
        r"<(img|svg|a)[^>]*(onerror|onload|javascript:)", rest
    )
    assert (
        "&lt;script&gt;document.title" in rest and "⟨1B⟩" in rest and "(100,000 characters)" in rest
    )
    assert len(rest) < 1_500_000, "what is huge is cut"


def test_hostile_answers_in_a_browser(hostile):
    playwright = pytest.importorskip("playwright.sync_api")
    browser = next(
        (
            path
            for name in ("chromium", "chromium-browser", "google-chrome")
            if (path := shutil.which(name))
        ),
        None,
    )
    if browser is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        window = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        tab = window.new_page(viewport={"width": 1200, "height": 900})
        complaints = []
        asked = []
        tab.on(
            "console",
            lambda message: complaints.append(message.text) if message.type == "error" else None,
        )
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        tab.on(
            "request",
            lambda request: (
                asked.append(request.url)
                if not request.url.startswith(("file:", "data:", "blob:"))
                else None
            ),
        )
        tab.goto(hostile.as_uri(), timeout=120_000)
        tab.wait_for_selector(".plot .main-svg", timeout=60_000)
        tab.wait_for_timeout(300)
        assert complaints == [] and asked == [] and tab.title() == "2 runs compared"
        assert tab.locator(".js-plotly-plot").count() == tab.locator(".plot").count() == 7
        assert tab.evaluate("document.documentElement.scrollWidth") <= 1200, "nothing sticks out"
        assert (
            tab.locator("text=<b>bold").count() > 0
            and tab.locator("main b:text-is('bold')").count() == 0
        )
        window.close()


def test_pieces_escape():
    evil = pd.DataFrame({"<b>": EVIL[:3], "n": [1, 2, 3]})
    assert (
        "<script>" not in html_table(evil).html
        and "<svg" not in html_table(evil, fold="<script>").html
    )
    runs = load_runs(
        {
            "<b>r": [
                dict(
                    id=EVIL[0],
                    task="position_matching",
                    question=EVIL[1],
                    answer="A",
                    prediction=EVIL[2],
                )
            ]
        }
    )
    made = cards(runs, {("position_matching", "select", EVIL[0]): EVIL[1]}).html
    assert not re.search(r"<(script|img|svg)", made)
    assert "<script>alert" not in page(
        "<script>alert(1)", "<script>alert(2)", {"<script>alert(3)": []}, ["<script>alert(4)"]
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere.jsonl", "--out", "r.html"], "nowhere.jsonl"),
        (["a.jsonl", "--out", "."], "name of an HTML file"),
        (["a.jsonl", "--out", "r.txt"], "name of an HTML file"),
        (["a.jsonl", "--out", "r.html", "--misses", "0"], "not a positive number"),
        (["blind_a.jsonl", "--out", "r.html"], "all files are blind runs"),
        (["a.jsonl", "--out", "r.html", "--benchmark", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_to_compare_is_one_line(tmp_path, monkeypatch, capsys, words, says):
    from spar_kit.cli.main import main

    monkeypatch.chdir(tmp_path)
    for name, mode in (("a", "original"), ("blind_a", "none")):
        write(
            tmp_path / f"{name}.jsonl",
            [{**row, "image_mode": mode} for row in rows_of(0.5, 0, 3, FOUR)],
        )
    with pytest.raises(SystemExit) as left:
        main(["compare", *words])
    said = capsys.readouterr().err
    assert (
        left.value.code == 2
        and says in said
        and said.startswith("spar: ")
        and said.count("\n") == 1
        and not (tmp_path / "r.html").exists()
    )


def renamed(rows, **change):
    return [{**row, **{name: value(row) for name, value in change.items()}} for row in rows]


@pytest.mark.parametrize(
    "change, same",
    [
        (
            {
                "answer": lambda row: (
                    row["answer"] + "0" if row["answer"][0].isdigit() else f"({row['answer']})"
                )
            },
            True,
        ),
        ({"question": lambda row: "\n" + row["question"] + "\nAnswer with one letter."}, True),
        ({"question": lambda row: None}, True),
        ({"question": lambda row: "<image>\n" + row["question"].upper()}, True),
        (
            {
                "answer": lambda row: (
                    "9.9"
                    if row["id"].endswith("-3") and row["answer"][0].isdigit()
                    else row["answer"]
                )
            },
            False,
        ),
        ({"question": lambda row: "How far is the sofa from the lamp?"}, False),
        ({"answer": lambda row: {"A": "B", "B": "C"}.get(row["answer"], row["answer"])}, False),
    ],
)
def test_runs_over_other_questions_under_the_same_ids_are_refused(change, same):
    first = rows_of(0.6, 0, 8, ["position_matching", "depth_prediction_oc"])
    second = renamed(rows_of(0.5, 1, 8, ["position_matching", "depth_prediction_oc"]), **change)
    if same:
        load_runs({"a": first, "b": second})
        return
    for runs in (
        {"a": first, "b": second},
        {"a": first, "blind: b": second},
        {"a": first[:4], "c": first, "b": second},
    ):
        with pytest.raises(
            ValueError,
            match=(
                r"b and \w were asked different questions under the same ids: \d+ of \d+ shared"
                r" ones differ, the first is"
            ),
        ):
            load_runs(runs)


@pytest.mark.parametrize(
    "skills, count",
    [((0.9, 0.5), 4), ((0.5, 0.9), 4), ((0.6, 0.5), 30), ((0.95, 0.1), 40), ((0.7, 0.7), 12)],
)
def test_the_sentence_and_the_table_say_the_same_of_a_comparison(skills, count):
    runs = load_runs(
        {
            name: rows_of(skill, k, count, ["position_matching"])
            for k, (name, skill) in enumerate(zip("ab", skills))
        },
        reference="a",
    )
    table = parts(runs)["Compared"][1].html
    row = re.findall(r"<td[^>]*>(.*?)</td>", table.split("<tbody>")[-1])
    said = re.search(r"b against a: .*?: ([\w ]+)\.", headline(runs))
    assert (
        said
        and said[1] in row
        and said[1]
        == verdict(*runs.against("b", runs.scores["a"]).loc["all", ["low", "high", "p_holm"]])
    )


def test_a_page_says_what_its_mean_leaves_out(tmp_path):
    rows = rows_of(0.7, 0, 20, ["position_matching"])
    rows[0] |= {"prediction": None, "failed": "time out"}
    rows[1] |= {"answer": "G", "id": "odd"}
    runs = load_runs({"a": rows})
    assert (
        "Not in this mean: of 20 questions 1 have no answer: the run is incomplete and 1 have no"
        " rule or a true answer that is not recognised." in headline(runs)
    )
    made = "".join(piece.html for piece in parts(runs)["Overall"] if hasattr(piece, "html"))
    assert (
        "no rule" in made
        and "odd (&#x27;G&#x27;)" in made
        and "Not in this mean"
        not in headline(load_runs({"a": rows_of(0.7, 0, 20, ["position_matching"])}))
    )
