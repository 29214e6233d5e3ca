"""A prediction says how its images were shown; a file of them is read once by a command, and each
of them scored once by each scorer."""

import json
from collections import Counter
from pathlib import Path

import pytest

from spar_kit.bench import predictions as it
from spar_kit.bench.interop import prediction_files
from spar_kit.bench.prompts import image_modes
from spar_kit.bench.rows import IMAGE_MODES
from spar_kit.bench.scorers import disagreements, table
from spar_kit.cli.main import main
from spar_kit.data.question import Question
from spar_kit.report.run_set import load_runs


def rows_of(count: int = 24, right: int = 2, **more: object) -> list[dict]:
    """Two tasks of SPAR-Bench in turn; one of `right` answers is right."""
    return [
        dict(
            id=f"room{k % 4}_{k}",
            task=("position_matching", "depth_prediction_oc")[k % 2],
            format=("select", "fill")[k % 2],
            answer=("A", "1.5")[k % 2],
            question=f"Where {k}?",
            prediction=("A", "1.5")[k % 2] if k % right == 0 else f"{k}.25 m",
            **more,
        )
        for k in range(count)
    ]


def written(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> tuple[Counter, Counter]:
    """How often each file was read, and each prediction scored, by name of the scorer."""
    reads = Counter()
    scored = Counter()
    read = Path.read_bytes

    def reading(path: Path) -> bytes:
        reads[path.name] += 1
        return read(path)

    def counting(name: str, real):  # type: ignore[no-untyped-def]
        def score(task: str, answer: str, prediction: str, *more: object):  # type: ignore[no-untyped-def]
            scored[name] += 1
            return real(task, answer, prediction, *more)

        return score

    monkeypatch.setattr(Path, "read_bytes", reading)
    for module in (table, disagreements):
        monkeypatch.setattr(module, "score_item", counting("strict", module.score_item))
    for name in ("official_score", "easi_score"):
        monkeypatch.setattr(disagreements, name, counting(name, getattr(disagreements, name)))
    return reads, scored


def called(*words: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return int(left.value.code or 0)


def test_score_reads_once_and_scores_once(tmp_path, counted, capsys):
    reads, scored = counted
    assert (
        called(
            "score",
            written(tmp_path / "a.jsonl", rows_of()),
            "--json",
            tmp_path / "s.json",
            "--items",
            tmp_path / "i.jsonl",
        )
        == 0
    )
    assert reads["a.jsonl"] == 1 and scored == {
        "strict": 24,
        "official_score": 24,
        "easi_score": 24,
    }


def test_compare_reads_once_and_scores_once(tmp_path, counted, capsys):
    reads, scored = counted
    files = [
        written(tmp_path / f"{name}.jsonl", rows_of(right=k, image_mode=mode))
        for name, k, mode in (("a", 2, "original"), ("b", 3, "original"), ("c", 4, "gray"))
    ]
    assert called("compare", *files, "--out", tmp_path / "page.html") == 0
    assert [reads[path.name] for path in files] == [1, 1, 1]
    assert scored == {"strict": 3 * 24, "official_score": 2 * 24, "easi_score": 2 * 24}, (
        "a blind run has the page's scorer only"
    )


def test_lines_decide_what_is_blind_not_names(tmp_path, recwarn):
    files = {
        "blind_looking": written(tmp_path / "blind_none.jsonl", rows_of(image_mode="original")),
        "sees": written(tmp_path / "sees.jsonl", rows_of(right=5, image_mode="swapped")),
    }
    runs = load_runs(files)
    assert (list(runs.with_images), list(runs.blind)) == (
        ["run blind_looking"],
        ["blind: sees"],
    ) and not recwarn
    with pytest.raises(ValueError, match="shown in several ways: gray, none"):
        load_runs(
            {
                "a": written(
                    tmp_path / "x.jsonl",
                    rows_of(image_mode="none")[:3] + rows_of(image_mode="grey")[3:],
                )
            }
        )
    with pytest.warns(UserWarning, match="by its name it is taken for a blind run"):
        assert it.find_image_mode(tmp_path / "old_grey.jsonl", rows_of()) == "gray"


def test_older_folders_are_understood_and_continued(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"images": ["given", "grey"]}))
    old = written(tmp_path / "predictions_grey.jsonl", rows_of())
    assert (
        prediction_files.read_prediction_file(old).image_mode == "gray"
        and it.stated_mode(prediction_files.read_predictions(old)) == ""
    )
    old.with_name(old.name + ".model").write_text("mark")
    new = it.prediction_file(tmp_path, "gray")
    assert (
        new.name == "predictions_gray.jsonl"
        and not old.exists()
        and new.with_name(new.name + ".model").read_text() == "mark"
    )
    with pytest.warns(FutureWarning, match="'grey' is now 'gray'"):
        assert image_modes("grey,given") == ("original", "gray")


def test_a_run_of_an_older_version_goes_on_and_its_lines_gain_the_mode(tmp_path):
    items = [
        Question(
            id=row["id"],
            task=row["task"],
            format=row["format"],
            scene="",
            text=row["question"],
            answer=row["answer"],
        )
        for row in rows_of()
    ]
    out = written(tmp_path / "o.jsonl", rows_of()[:10])
    (tmp_path / "o.jsonl.model").write_text("m")
    with it.PredictionWriter(out, items, "m", image_mode="gray") as writer:
        assert len(writer.left) == 14
        for item in writer.left:
            writer.add(item, "7")
    assert [row.image_mode for row in it.read_partial_predictions(out)] == ["gray"] * 24 and [
        row.text for row in it.read_partial_predictions(out)
    ][:10] == [row["prediction"] for row in rows_of()[:10]]
    # the words of older fingerprints, so that what they marked is continued
    assert [it.mode_in_mark(mode) for mode in IMAGE_MODES] == ["given", "none", "grey", "swapped"]
