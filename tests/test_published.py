"""Published results: transcribed without a slip, contradictions found, laid beside a run."""

import numpy as np
import pytest

from spar_kit.bench.analysis.published import (
    COUNTS,
    benchmark_tasks,
    compare_with_published,
    inconsistencies,
    leaderboard,
    published,
    sources,
    split_of,
)
from spar_kit.bench.scorers.table import score_rows
from spar_kit.tasks.registry import TASKS


def run(counts, skill=0.5):
    rng = np.random.default_rng(0)
    return score_rows(
        dict(id=k, task=task, answer="A", prediction="A" if rng.random() < skill else "B")
        for task, count in counts.items()
        for k in range(count)
    )


def test_every_row_has_its_source_split_and_scorer():
    table = published()
    assert (
        set(table.split) == {"full", "tiny"}
        and set(table.flavour) == {"official", "easi", "none", "unknown"}
        and set(table.kind) == {"model", "human", "chance"}
    )
    assert (
        set(table.source) <= set(sources())
        and table.score.between(0, 1).all()
        and not table.duplicated(["model", "split", "level", "task"]).any()
    )
    assert {task: TASKS[task].level for task in benchmark_tasks()} == benchmark_tasks() and len(
        benchmark_tasks()
    ) == 20
    assert (table[table.kind != "model"].flavour == "none").all()
    table.loc[:, "score"] = 0
    assert published().score.max() > 0.9, "what is handed out is a copy"


def test_known_numbers():
    table = published().set_index(["model", "split", "level", "task"]).score
    assert (
        table["Human", "tiny", "all", ""] == 0.6727
        and table["Human", "tiny", "medium", "position_matching"] == 0.92
    )
    assert table["InternVL2.5-8B + SPAR-mix", "full", "all", ""] == 0.6325 and table[
        "InternVL2.5-8B", "full", "high", "obj_spatial_relation_oo"
    ] == pytest.approx(0.4423)
    assert (
        table["Qwen2.5-VL-7b (EASI)", "full", "all", ""] == 0.3378
        and table["Chance (frequency)", "full", "medium", "view_change_infer"] == 0.59
    )
    assert ("InternVL2.5-8B + SPAR-mix", "full", "low", "depth_prediction_oc") not in table.index


def test_accuracies_are_counts_of_the_known_number_of_questions():
    """A slip of the pen in a multiple-choice number would be no k / N any more."""
    table = published()
    table = table[table.task.isin(COUNTS) & (table.task != "view_change_infer")]
    counts = np.where(table.split == "tiny", 50, table.task.map(COUNTS))
    off = 100 * np.abs(np.round(table.score * counts) / counts - table.score)
    printed = (10_000 * table.score).round().mod(10) != 0  # two decimals
    fine = printed.groupby(table.model).transform("mean") > 0.5  # some tables print one
    assert (
        off[fine].max() < 0.0061
        and off[~fine].max() < 0.0501
        and fine.sum() > 150
        and len(table) > 270
    )


def test_contradictions_are_those_that_can_be_worked_out_by_hand():
    odd = inconsistencies().set_index(["model", "split", "level", "from_"])
    # (8 * 65.53 + 3 * 63.01 + 9 * 60.19) / 20
    assert (
        odd.computed["InternVL2.5-8B + SPAR-mix", "full", "all", "levels"] == pytest.approx(0.62749)
        and odd.published["InternVL2.5-8B + SPAR-mix", "full", "all", "levels"] == 0.6325
    )
    assert odd.computed["LLaVA-v1.5-7b", "full", "medium", "tasks"] == pytest.approx(
        (24.43 + 26.75 + 28.31) / 300
    )
    assert odd.computed["GPT-4o", "tiny", "low", "tasks"] == pytest.approx(
        0.30875
    ) and odd.computed["SpaceR", "full", "all", "levels"] == pytest.approx(0.3767, abs=1e-4)
    consistent = {
        "Human",
        "Chance (frequency)",
        "Qwen2.5-VL-72B",
        "InternVL2.5-8B",
        "Qwen2.5-VL-7b",
        "Claude-3.7-Sonnet",
        "SpaceMantis-13B",
        "G2VLM-SR",
    }
    assert not consistent & set(odd.index.get_level_values("model"))


def test_ranking_says_what_was_worked_out():
    table = leaderboard("full").set_index("model")
    assert (
        table.computed["Qwen2.5-VL-7B (zero-shot, by SpaceR)"]
        and not table.computed["SpaceR"]
        and table.contradicts["InternVL2.5-8B + SPAR-mix"]
    )
    assert table.score["Qwen2.5-VL-7B (zero-shot, by SpaceR)"] == pytest.approx(0.3382, abs=1e-4)
    assert (
        leaderboard("full", "high").model[0] == "VG-LLM-based 4B"
        and "InternVL2-2B" in set(leaderboard("full", "low").model)
        and "VG-LLM-4B" not in set(leaderboard("full", "low").model)
    )


def test_a_set_of_answers_is_the_benchmark_only_with_its_counts():
    full = {**dict.fromkeys(benchmark_tasks(), 350), **COUNTS}
    assert (
        split_of(run(full)) == "full" and split_of(run({**full, "position_matching": 300})) is None
    )
    assert (
        split_of(run(dict.fromkeys(benchmark_tasks(), 50))) == "tiny"
        and split_of(run({"position_matching": 50})) is None
    )


def test_beside():
    tiny = run(dict.fromkeys(benchmark_tasks(), 50), 0.4)
    table = compare_with_published(tiny, ["Human", "GPT-4o"]).set_index(["level", "task"])
    assert (
        len(table) == 24
        and table.Human["medium", "position_matching"] == 0.92
        and table["GPT-4o"]["all", ""] == 0.3639
    )
    assert (
        table["this run"]["all", ""] == pytest.approx(tiny.score.mean())
        and (table.low < table.high).all()
    )
    assert list(compare_with_published(tiny).columns[5:7]) == ["Human", "Qwen2.5-VL-72B"]
    with pytest.raises(ValueError, match="no published numbers of 'GPT-5'"):
        compare_with_published(tiny, ["GPT-5"])
    with pytest.raises(ValueError, match="not SPAR-Bench's questions"):
        compare_with_published(run({"position_matching": 50}))
    assert (
        compare_with_published(run({"position_matching": 50}), split="full")["this run"]
        .notna()
        .sum()
        == 3
    )
