"""The audit: a planted leak is found and fails, a fair dataset passes, both files are sound."""

import html.parser
import json
import subprocess
import sys

import numpy as np
import pytest

from spar_kit.bench.analysis.statistics import interval
from spar_kit.bench.baselines.audit import (
    Asked,
    Audit,
    BaselineScore,
    TaskAudit,
    audit,
    audit_items,
    cross_validated_best,
)
from spar_kit.bench.baselines.name_linear import predict_with_names
from spar_kit.bench.baselines.text_forest import ParsedQuestion
from spar_kit.cli.main import main
from spar_kit.report.audit_report import audit_page, write_audit

FOLDER = "spar/made-up/qa_jsonl/train"


def record(number, scene, question, answer):
    return json.dumps(
        {
            "id": f"{scene}_{number}",
            "conversations": [
                {"from": "human", "value": question},
                {"from": "gpt", "value": answer},
            ],
            "image": [f"{scene}/image_color/0.jpg"],
            "type": "depth_prediction_oc",
            "red_point": [[500, 500]],
            "facts": {},
        }
    )


def numeric(rng, rank, scenes=16, each=12):
    """Depth questions whose right option is always of this rank, or of a random one."""
    lines = []
    for n in range(scenes * each):
        values = np.sort(rng.uniform(0.5, 4, 4)).round(1) + np.arange(4) * 0.3
        order = rng.permutation(4)
        gold = rank if rank is not None else int(rng.integers(4))
        options = "".join(f"\n{letter}. {values[k]:.1f}" for letter, k in zip("ABCD", order))
        lines.append(
            record(
                n,
                f"room{n % scenes:02d}",
                f"How deep is the lamp (red point)?{options}",
                "ABCD"[list(order).index(gold)],
            )
        )
    return lines


def write(folder, task, form, lines):
    path = folder / FOLDER / task / form / f"{form}_{len(lines)}.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def leaky(tmp_path_factory):
    folder = tmp_path_factory.mktemp("leaky") / "a <b> & c"
    rng = np.random.default_rng(0)
    write(folder, "depth_prediction_oc", "select", numeric(rng, 2))
    write(folder, "distance_prediction_oo", "select", numeric(rng, None, each=40))
    write(
        folder,
        "depth_prediction_oo",
        "fill",
        [record(n, f"room{n % 9}", "How deep?", "2.0") for n in range(90)],
    )
    write(
        folder,
        "spatial_imagination_map_mv",
        "sentence",
        [
            record(n, f"room{n % 9}", "A map?", "Here is a long sentence about it.")
            for n in range(20)
        ],
    )
    return folder


@pytest.fixture(scope="module")
def fair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fair")
    write(folder, "depth_prediction_oc", "select", numeric(np.random.default_rng(1), None))
    return folder


def spar(*words):
    return subprocess.run(
        [sys.executable, "-c", "from spar_kit.cli.main import main; main()", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_planted_leak_fails_and_the_fair_task_beside_it_passes(leaky, tmp_path):
    done = spar("audit", leaky, "--out", tmp_path / "out")
    assert done.returncode == 1, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if "prediction" in line}
    assert lines["depth_prediction_oc"].endswith("FAIL") and "100.0" in lines["depth_prediction_oc"]
    assert (
        lines["depth_prediction_oo"].endswith("FAIL")
        and "FAIL" not in lines["distance_prediction_oo"]
    )
    content = json.loads((tmp_path / "out/audit.json").read_text())
    assert (
        content["verdict"] == "FAIL"
        and content["counts"]["FAIL"] == 2
        and list(content["left_out"]) == ["spatial_imagination_map_mv/sentence"]
    )
    [third] = [
        a
        for f in content["findings"]
        for a in f["attacks"]
        if a["predictor"] == "third value" and a["score"] == 1
    ]
    assert 0.97 < third["low"] < 1 == third["high"], "all of 192 right is not certainty"
    assert [f["verdict"] for f in content["findings"]] == ["FAIL", "FAIL", "pass"]
    assert done.stdout.splitlines()[-1].startswith(
        "1 pass, 0 unclear, 2 FAIL. FAIL: depth_prediction_oc/select, depth_prediction_oo/fill."
    )
    for f in content["findings"]:
        assert 0 <= f["best"]["low"] <= f["best"]["score"] <= f["best"]["high"] <= 1 and f[
            "limit"
        ] == (f["chance"] + 0.05 if f["chance"] else 0.45)
    text = (tmp_path / "out/audit.html").read_text()
    assert (
        "a &lt;b&gt; &amp; c" in text
        and "<b>" not in text
        and "✗ FAIL" in text
        and "✓ pass" in text
    )


def test_fair_dataset_passes_and_json_can_be_piped(fair):
    done = spar("audit", fair, "--json", "--tasks", "depth_prediction_oc", "--split", "train")
    assert done.returncode == 0, done.stderr
    [finding] = json.loads(done.stdout)["findings"]
    assert finding["items"] == 192 and finding["scenes"] == 16 and finding["verdict"] == "pass"


def test_few_questions_are_unclear_and_told_what_to_type(tmp_path):
    """Four rooms and sixteen questions cannot tell anything from guessing: neither a pass nor a
    failure."""
    for seed in range(5):
        folder = tmp_path / str(seed)
        write(
            folder,
            "depth_prediction_oc",
            "select",
            numeric(np.random.default_rng(seed), None, scenes=4, each=4),
        )
        (folder / "manifest.json").write_text("{}")
        result = audit(folder, trees=3)
        assert result.verdict == "unclear"
    [finding] = result.findings
    assert (
        finding.verdict == "unclear"
        and finding.best.low <= finding.limit < finding.limit + 0.1 < finding.best.high
    )
    assert finding.scenes_needed > 4 and result.having("pass") == result.having("FAIL") == []
    assert result.conclusion().startswith(
        "0 pass, 1 unclear, 0 FAIL. unclear: depth_prediction_oc/select."
    )
    assert (
        f"spar generate SOURCE --out MORE --scenes {finding.scenes_needed} --tasks"
        " depth_prediction_oc && spar audit MORE" in result.conclusion()
    )
    # as SPAR-7M is released: more of it cannot be made
    (folder / "manifest.json").unlink()
    assert audit(folder, trees=3).conclusion().endswith("there are too few questions to tell.")
    text = audit_page(result)
    assert (
        "✓" not in text
        and "✗" not in text
        and "? unclear</span>" in text
        and result.conclusion().replace("&", "&amp;") in text
    )


def attacked(score, low, chance=0.25, *, limit=0.30, high=None, scenes=10, predictor="constant"):
    attack = BaselineScore(
        predictor, score, low, min(2 * score - low, 1.0) if high is None else high
    )
    return TaskAudit(
        task="depth_prediction_oc",
        format="select",
        kind="letter",
        items=100,
        scenes=scenes,
        chance=chance,
        limit=limit,
        best=attack,
        attacks=(attack,),
        with_marks=None,
    )


def test_the_three_verdicts():
    """Each at its borders: FAIL only where the whole interval lies above the limit, pass only where
    the data could have told a shortcut."""
    cases = {
        (0.30, 0.28, 0.40): "pass",
        (0.24, 0.10, 0.40): "pass",
        (0.24, 0.10, 0.41): "unclear",
        (0.31, 0.25, 0.37): "unclear",
        (0.31, 0.30, 0.32): "unclear",
        (0.60, 0.20, 1.0): "unclear",
        (0.32, 0.301, 0.34): "FAIL",
        (1.0, 0.98, 1.0): "FAIL",
    }
    assert {
        numbers: attacked(numbers[0], numbers[1], high=numbers[2]).verdict for numbers in cases
    } == cases
    for chance, limit in ((None, 0.45), (0.5, 0.55)):
        assert (
            attacked(0.46, 0.10, chance, limit=limit).verdict == "unclear"
            and attacked(limit, limit - 0.1, chance, limit=limit).verdict == "pass"
        )
        assert attacked(limit + 0.05, limit + 0.01, chance, limit=limit).verdict == "FAIL"
    good = attacked(0.30, 0.28)
    open_ = attacked(0.31, 0.25)
    bad = attacked(0.35, 0.31)
    assert (
        Audit(folder="x", findings=(good, open_, bad)).verdict == "FAIL"
        and Audit(folder="x", findings=(good, open_)).verdict == "unclear"
        and Audit(folder="x", findings=(good,)).verdict == "pass"
    )
    assert (
        "Type" not in Audit(folder="x", findings=(good, bad)).conclusion()
        and Audit(folder="x", findings=(good,)).conclusion() == "1 pass, 0 unclear, 0 FAIL."
    )


def test_one_room_that_is_known_already_convicts_nobody():
    """With one scene, who learns has learned in it; a rule that learns nothing still convicts."""
    assert [
        attacked(0.9, 0.8, scenes=1, predictor=name).verdict
        for name in (
            "constant",
            "trees on the text",
            "names and options",
            "third value",
            "always A",
        )
    ] == ["unclear"] * 3 + ["FAIL"] * 2
    rng = np.random.default_rng(0)

    def rows(answer, options=True, count=60):
        for n in range(count):
            values = np.sort(rng.uniform(0.5, 4, 4)).round(1) + np.arange(4) * 0.3
            order = rng.permutation(4)
            question = ParsedQuestion(
                f"How far is the {'lamp' if n % 2 else 'sofa'}?",
                tuple(f"{values[j]:.1f}" for j in order) if options else (),
                answer(n, list(order)),
            )
            yield Asked(str(n), "room", question, (-1.0,) * 28)

    known = audit_items(
        "depth_prediction_oc",
        "fill",
        list(rows(lambda n, _: "3.0" if n % 2 else "1.5", options=False)),
        trees=10,
    )
    assert (
        known.best.score > 0.9
        and known.best.low > known.limit
        and known.verdict == "unclear"
        and known.scenes == 1
    )
    leak = audit_items(
        "depth_prediction_oc",
        "select",
        list(rows(lambda _, order: "ABCD"[order.index(2)])),
        trees=10,
    )
    assert leak.verdict == "FAIL" and leak.best.score == 1
    fair = [
        audit_items(
            "depth_prediction_oc",
            "select",
            list(rows(lambda *_: "ABCD"[rng.integers(4)], count=count)),
            trees=10,
        ).verdict
        for count in (12, 400)
    ]
    assert fair == ["unclear", "pass"]


def rate(wanted, truth, scenes, *, each, chance=0.25, spread=0.02, studies=300):
    """How often an attack that scores `truth` on average, a little unlike from scene to scene, gets
    a verdict."""
    rng = np.random.default_rng(1)
    place = np.repeat(np.arange(scenes), each)
    found = 0
    for _ in range(studies):
        skill = rng.beta(truth / spread - truth, (1 - truth) / spread - 1 + truth, scenes)
        attack = BaselineScore(
            "constant",
            *interval((rng.random(len(place)) < skill[place]).astype(float), place, samples=200),
        )
        found += (
            TaskAudit(
                task="t",
                format="select",
                kind="letter",
                items=len(place),
                scenes=scenes,
                chance=chance,
                limit=chance + 0.05,
                best=attack,
                attacks=(attack,),
                with_marks=None,
            ).verdict
            == wanted
        )
    return found / studies


def test_few_rooms_convict_nobody_and_fifty_keep_their_power():
    """At chance nobody is convicted, whatever the number of scenes and questions; with fifty rooms
    a shortcut worth six points above the limit is found, and fair sets pass."""
    for scenes, each in ((2, 16), (3, 20), (4, 8), (4, 60), (8, 10), (50, 8)):
        assert rate("FAIL", 0.25, scenes, each=each, studies=150) <= 0.01
        assert rate("FAIL", 0.30, scenes, each=each, studies=150) <= 0.06, (
            "nor is who is at the limit"
        )
    assert rate("FAIL", 0.36, 50, each=40) > 0.95 and rate("FAIL", 0.40, 50, each=8) > 0.9
    assert rate("pass", 0.25, 50, each=40) > 0.99 and rate("pass", 0.25, 50, each=8) > 0.9
    assert (
        rate("FAIL", 0.60, 4, each=60) > 0.6
        and rate("unclear", 0.25, 4, each=8) > 0.95
        and rate("pass", 0.25, 4, each=60) > 0.4
    )


@pytest.mark.parametrize(
    "finding, code",
    [(attacked(0.31, 0.25), 3), (attacked(0.35, 0.31), 1), (attacked(0.30, 0.28), 0)],
    ids=["unclear", "FAIL", "pass"],
)
def test_exit_codes_tell_too_little_data_from_a_shortcut(
    monkeypatch, tmp_path, capsys, finding, code
):
    monkeypatch.setattr(
        "spar_kit.bench.baselines.audit.audit",
        lambda *_, **__: Audit(folder="x", findings=(finding,)),
    )
    with pytest.raises(SystemExit) as left:
        main(["audit", str(tmp_path)])
    assert left.value.code == code
    out = capsys.readouterr().out
    assert finding.verdict in out.splitlines()[1] and (
        "Type spar generate" in out.splitlines()[-1]
    ) == (finding.verdict == "unclear")


def test_one_question_is_too_little_data(tmp_path, capsys):
    write(
        tmp_path,
        "depth_prediction_oc",
        "select",
        numeric(np.random.default_rng(0), None, scenes=1, each=1),
    )
    with pytest.raises(SystemExit) as left:
        main(["audit", str(tmp_path), "--out", str(tmp_path / "out")])
    assert (
        left.value.code == 3
        and "depth_prediction_oc/select: one question only" in capsys.readouterr().out
    )
    assert (
        json.loads((tmp_path / "out/audit.json").read_text())["verdict"] == "unclear"
        and "Too little data" in (tmp_path / "out/audit.html").read_text()
    )


def test_nothing_to_audit_is_bad_input(tmp_path):
    for words in (["nowhere"], [tmp_path]):
        done = spar("audit", *words)
        assert (
            done.returncode == 2 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
        )


def test_both_splits_are_one_set_unless_one_is_asked_for(tmp_path):
    """Three rooms to train and one to test are four rooms of one house."""
    lines = numeric(np.random.default_rng(0), None, scenes=4, each=10)
    for name, own in (("train", lines[:30]), ("val", lines[30:])):
        path = (
            tmp_path / "spar/made-up/qa_jsonl" / name / "depth_prediction_oc/select/select_1.jsonl"
        )
        path.parent.mkdir(parents=True)
        path.write_text("\n".join(own) + "\n")
    [both], [one] = (
        audit(tmp_path, trees=2).findings,
        audit(tmp_path, split="val", trees=2).findings,
    )
    assert (both.items, both.scenes) == (40, 4) and one.items == 10


def test_page_is_well_formed(leaky, tmp_path):
    class Tags(html.parser.HTMLParser):
        def __init__(self):
            super().__init__()
            self.open = []
            self.seen = set()

        def handle_startendtag(self, tag, attributes):
            self.seen.add(tag)

        def handle_starttag(self, tag, attributes):
            self.seen.add(tag)
            if tag not in ("meta", "html"):
                self.open.append(tag)

        def handle_endtag(self, tag):
            if tag != "html":
                assert self.open.pop() == tag

    tags = Tags()
    result = audit(leaky, tasks=["depth_prediction_oc", "spatial_imagination_map_mv"], trees=5)
    tags.feed(audit_page(result))
    assert not tags.open and {"table", "details", "svg", "script"} <= tags.seen
    assert [path.name for path in write_audit(result, tmp_path / "new")] == [
        "audit.json",
        "audit.html",
    ]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "audit.html",
        "audit.json",
    ]


def test_luck_does_not_convict():
    """Of twenty coins the best is lucky; the one chosen on other folds is a coin. And few questions
    convict nobody."""
    coins = np.random.default_rng(0).random((100, 20, 400)) < 0.5
    assert np.mean([c.mean(1).max() for c in coins]) > 0.53
    assert (
        abs(
            np.mean(
                [cross_validated_best(c.astype(float), np.arange(400) % 5)[0].mean() for c in coins]
            )
            - 0.5
        )
        < 0.01
    )
    rng = np.random.default_rng(5)
    verdicts = []
    for _ in range(12):
        rows = [
            Asked(
                str(n),
                f"room{n % 4}",
                ParsedQuestion(
                    "How far?",
                    tuple(f"{v:.1f}" for v in rng.permutation(9)[:4] / 2 + 1),
                    "ABCD"[rng.integers(4)],
                ),
                (-1.0,) * 28,
            )
            for n in range(16)
        ]
        verdicts.append(audit_items("depth_prediction_oc", "select", rows, trees=3).verdict)
    assert verdicts.count("FAIL") <= 2


def test_the_best_attack_is_never_taken_from_its_own_fold():
    scores = np.array([[1, 1, 0, 0], [0, 0, 1, 1]], float)
    picked, chosen = cross_validated_best(scores, np.array([0, 0, 1, 1]))
    assert chosen.tolist() == [1, 1, 0, 0] and picked.tolist() == [0, 0, 0, 0]


def test_interval_grows_with_what_scenes_share():
    values = np.repeat(np.random.default_rng(0).random(10) < 0.5, 40).astype(float)
    by_scene = interval(values, np.repeat(np.arange(10), 40))
    by_item = interval(values, np.arange(400))
    assert by_scene[2] - by_scene[1] > 3 * (by_item[2] - by_item[1])


def test_names_tell_what_hangs_above():
    rng = np.random.default_rng(0)
    height = {"lamp": 5, "door": 3, "plant": 2, "bed": 1, "rug": 0}

    def made_up(n):
        for _ in range(n):
            a, b = rng.choice(list(height), 2, replace=False)
            options = tuple(
                rng.permutation(
                    [f"{x}, {y}, " for x in ("left", "right") for y in ("above", "below")]
                ).tolist()
            )
            gold = (
                f"{rng.choice(['left', 'right'])},"
                f" {'above' if height[a] > height[b] else 'below'}, "
            )
            yield ParsedQuestion(
                f"Where is the {a} (red bbox) compared to the {b} (blue bbox)?",
                options,
                "ABCD"[options.index(gold)],
            )

    train = list(made_up(400))
    test = list(made_up(300))
    told = predict_with_names(train, test)
    assert np.mean(
        [a == q.answer for a, q in zip(told, test)]
    ) > 0.40 and told == predict_with_names(train, test)
    nameless = [
        [
            ParsedQuestion(
                q.text.replace(q.text.split()[3], "object").replace(q.text.split()[9], "object"),
                q.options,
                q.answer,
            )
            for q in part
        ]
        for part in (train, test)
    ]
    assert np.mean([a == q.answer for a, q in zip(predict_with_names(*nameless), test)]) < 0.33
