"""Statistics: intervals that hold what they promise, tests against closed forms, chance taken out
by hand, factors that are planted and found."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, norm, permutation_test, t
from sklearn.linear_model import LinearRegression

from spar_kit.bench.analysis.factors import (
    dataset_facts,
    factor_effects,
    factor_table,
    first_label,
    item_factors,
)
from spar_kit.bench.analysis.statistics import (
    best_run_per_task,
    bootstrap_means,
    expanded_alpha,
    holm,
    interval,
    intervals,
    overall_intervals,
    overall_paired,
    paired_difference,
    required_sample_size,
    sign_flip_test,
)
from spar_kit.bench.baselines.chance import baselines, chance_adjusted, option_count
from spar_kit.bench.scorers.table import overall, score_rows
from spar_kit.tasks.registry import TASKS


def run(skill, seed, each=10, count=200):
    """Letters that are right with a task's probability; `each` questions of a task in a scene."""
    rng = np.random.default_rng(seed)
    return score_rows(
        dict(
            id=f"room{k // each}_{k}",
            task=task,
            format="select",
            answer="A",
            prediction="A" if rng.random() < p else "B",
        )
        for task, p in skill.items()
        for k in range(count)
    )


@pytest.mark.parametrize(("scenes", "each"), [(8, 20), (30, 10)])
def test_95_percent_intervals_hold_the_truth_95_times_in_100(scenes, each):
    """Three hundred studies with right and wrong answers that agree within a scene; 95 +- 3 is what
    their number allows."""
    rng = np.random.default_rng(7)
    place = np.repeat(np.arange(scenes), each)
    held = forgotten = 0
    for _ in range(300):
        values = (rng.random(scenes * each) < rng.beta(6, 4, scenes)[place]).astype(float)
        _, low, high = interval(values, place, samples=300)
        held += low <= 0.6 <= high
        _, low, high = interval(values, np.arange(len(values)), samples=100)
        forgotten += low <= 0.6 <= high
    assert 0.92 <= held / 300 <= 0.985
    assert forgotten / 300 < 0.88, (
        "drawing questions instead of scenes is what makes intervals too narrow"
    )


@pytest.mark.parametrize("spread", [0.0, 0.05, 0.15])
@pytest.mark.parametrize(
    "sizes",
    [(20, 20), (20, 20, 20), (40, 15, 5, 5), (30,) * 6, (140, *[7] * 8)],
    ids=["2", "3", "4 unlike", "6", "one large"],
)
def test_few_scenes_hold_the_truth_as_often(sizes, spread):
    """Scenes that agree within themselves not at all, a little, much (intraclass correlation):
    never under 95 - 3 of 100."""
    rng = np.random.default_rng(7)
    place = np.repeat(np.arange(len(sizes)), sizes)
    held = 0
    widths = []
    for _ in range(250):
        if spread:
            skill = rng.beta(0.6 / spread - 0.6, 0.4 / spread - 0.4, len(sizes))
        else:
            skill = np.full(len(sizes), 0.6)
        _, low, high = interval(
            (rng.random(len(place)) < skill[place]).astype(float), place, samples=10
        )
        held = held + (low <= 0.6 <= high)
        widths = [*widths, high - low]
    assert held / 250 >= 0.92
    assert np.mean(widths) < 0.95 or len(sizes) < 4, "wide, but from four scenes on not empty"


@pytest.mark.parametrize("count", [2, 3, 5, 10, 20, 40])
@pytest.mark.parametrize("truth", [0.25, 0.6, 0.95])
def test_few_questions_of_one_scene_hold_the_truth_as_often(count, truth):
    rng = np.random.default_rng(3)
    found = [
        interval((rng.random(count) < truth).astype(float), [0] * count, samples=200)
        for _ in range(300)
    ]
    assert np.mean([low <= truth <= high for _, low, high in found]) >= 0.92


@pytest.mark.parametrize(
    "scenes",
    [[0] * 32, np.arange(32) % 2, np.arange(32) % 4, np.arange(32)],
    ids=["one", "two", "four", "each its own"],
)
@pytest.mark.parametrize("score", [0.0, 0.438, 1.0])
def test_no_interval_is_without_width(scenes, score):
    """43.8, interval 43.8 to 43.8: equal scores leave room, and never more than there is."""
    mean, low, high = interval(np.full(32, score), scenes)
    assert mean == pytest.approx(score) and 0 <= low <= mean <= high <= 1 and high - low > 0.05
    assert (
        interval(np.full(3000, score), np.arange(3000) % 50)[2]
        - interval(np.full(3000, score), np.arange(3000) % 50)[1]
        < 0.01
    )


def test_wilson_by_hand():
    """32 of 32 independent answers: Wilson's interval with t for z; and 5 of 10."""
    z2 = t.ppf(0.975, 31) ** 2
    assert np.allclose(interval(np.ones(32), np.arange(32))[1:], [32 / (32 + z2), 1])
    z = t.ppf(0.975, 9)
    # the variance of a mean has n - 1 in it
    half = z / (10 + z * z) * np.sqrt(10 * 0.25 * 10 / 9 + z * z / 4)
    assert np.allclose(interval([0, 1] * 5, np.arange(10))[1:], [0.5 - half, 0.5 + half])


@pytest.mark.parametrize("scenes", [1, 2, 3])
def test_tables_of_few_scenes_have_honest_intervals(scenes):
    """All right, all wrong, half: no zero width in any table, means inside, and no run is better
    than another for four questions' sake."""
    rows = [
        dict(
            id=f"room{k % scenes}_{k}",
            task=task,
            format="select",
            answer="A",
            prediction=said[k % len(said)],
        )
        for task, said in (
            ("position_matching", "A"),
            ("distance_infer_center_oo", "B"),
            ("camera_motion_infer", "AB"),
        )
        for k in range(12)
    ]
    table = score_rows(rows)
    for found in (intervals(table), overall_intervals(table)):
        assert (
            (found.low <= found.score)
            & (found.score <= found.high)
            & (found.high - found.low > 0.1)
            & (found.low >= 0)
            & (found.high <= 1)
        ).all()
    four = table[table.task == "position_matching"].head(4)
    gap = overall_paired(four, four.assign(score=0.0)).set_index("level").loc["all"]
    assert gap.difference == 1 and gap.low <= 0 and not gap.better and gap.p > 0.05
    same = paired_difference(table, table)
    assert ((same.low < 0) & (same.high > 0)).all() and not same.better.any()


def test_many_tasks_of_one_or_two_questions_are_few():
    """Twenty tasks, one or two questions each, all wrong but three: a draw of a task's only
    question is always that question."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(60):
        rows = [
            dict(
                id=f"{task}{k}",
                task=task,
                answer="A",
                prediction="A" if rng.random() < 0.3 else "B",
            )
            for n, task in enumerate(list(TASKS)[:20])
            for k in range(1 + n % 2)
            if not task.startswith(("depth", "distance_pred", "view_change"))
        ]
        table = score_rows([dict(row, format="select") for row in rows])
        whole = overall_intervals(table, 300).set_index("level").loc["all"]
        held += whole.low <= 0.3 <= whole.high
    assert held >= 55 and whole.high - whole.low > 0.2


def test_a_task_of_one_scene_among_many_is_judged_by_its_questions():
    table = pd.concat(
        [
            run({"position_matching": 0.5}, 0, each=200),
            run({"camera_motion_infer": 0.5}, 1, each=10),
        ]
    )
    found = paired_difference(table.assign(score=1.0), table).set_index("task")
    assert (
        found.scenes["position_matching"] == 1
        and found.better["position_matching"]
        and found.p["position_matching"] < 0.01
    )


def test_the_interval_of_independent_items_is_the_textbook_one():
    values = np.random.default_rng(0).normal(0.5, 0.2, 400)
    mean, low, high = interval(values, np.arange(400), samples=10_000)
    half = 1.96 * values.std(ddof=1) / 20
    assert mean == values.mean() and np.allclose(
        [low, high], [mean - half, mean + half], atol=0.0015
    )
    assert np.isclose(
        expanded_alpha(16), norm.cdf(-np.sqrt(16 / 15) * t.ppf(0.975, 15))
    ) and np.isclose(expanded_alpha(10**6), 0.025, atol=1e-5)


def test_groups_share_the_draws_of_scenes():
    """Two tasks with the same scores: their mean varies as much as each of them, which it would not
    if each had draws of its own."""
    table = run({"position_matching": 0.5}, 0)
    both = pd.concat([table, table.assign(task="camera_motion_infer")])
    one = overall_intervals(table).set_index("level").loc["all"]
    two = overall_intervals(both).set_index("level").loc["all"]
    assert (one.low, one.high) == (two.low, two.high)


def test_items_of_one_scene_are_drawn_one_by_one():
    table = pd.concat(
        [
            run({"position_matching": 0.5}, 0, each=200),
            run({"camera_motion_infer": 0.5}, 1, each=10),
        ]
    )
    found = intervals(table).set_index("task")
    assert (
        found.scenes["position_matching"] == 1
        and 0.1 < found.high["position_matching"] - found.low["position_matching"] < 0.2
    )


def test_tables_agree_with_the_plain_means():
    table = run(
        {
            "depth_prediction_oc": 0.2,
            "position_matching": 0.6,
            "distance_infer_center_oo": 0.9,
            "view_change_infer": 0.5,
        },
        3,
    )
    table.loc[:20, "score"] = np.nan
    means = intervals(table).set_index("task")
    assert (
        np.allclose(means.score, table.groupby("task").score.mean()[means.index])
        and means.left_out.sum() == 21
    )
    levels = overall_intervals(table).set_index("level").score
    assert np.allclose(levels, pd.Series(overall(table))[levels.index])
    official = overall_intervals(table, flavour="official").set_index("level").score
    assert np.isclose(official["medium"], means.score["position_matching"]) and np.isclose(
        official["all"], levels["all"]
    )
    shuffled = table.sample(frac=1, random_state=0)
    assert np.allclose(
        intervals(shuffled)[["score", "low", "high"]], intervals(table)[["score", "low", "high"]]
    ), "the order of rows changes nothing"
    assert overall_intervals(table.assign(score=np.nan)).empty


def test_replicates_of_grouped_values_are_those_of_single_items():
    """Drawing how often each value occurs is drawing the items: mean and spread are those of a
    plain bootstrap."""
    values = np.random.default_rng(0).choice([0.0, 0.3, 1.0], 250)
    means = bootstrap_means(values, np.zeros(250, int), np.arange(250), count=1, samples=20_000)[
        :, 0
    ]
    assert np.isclose(means.mean(), values.mean(), atol=0.002) and np.isclose(
        means.std(), values.std() / np.sqrt(250), rtol=0.03
    )


def test_sign_flips_against_closed_forms():
    rng = np.random.default_rng(0)
    assert sign_flip_test(np.ones((10, 1)))[0] == 2 / 2**10
    ups = np.where(np.arange(50) < 34, 1.0, -1.0)[:, None]
    assert np.isclose(sign_flip_test(ups)[0], 2 * binom.sf(33, 50, 0.5), atol=0.004)
    normal = rng.normal(0.25, 1, (80, 1))
    z = normal.sum() / np.sqrt((normal**2).sum())
    assert np.isclose(sign_flip_test(normal)[0], 2 * norm.sf(abs(z)), atol=0.012)
    assert sign_flip_test(np.zeros((30, 2))).tolist() == [1, 1]
    assert np.mean(sign_flip_test(rng.normal(0, 1, (25, 600)), 999) < 0.05) == pytest.approx(
        0.05, abs=0.025
    )


def test_holm_by_hand():
    assert np.allclose(holm([0.04, 0.01, 0.03]), [0.06, 0.03, 0.06]) and np.allclose(
        holm([0.6, 0.9]), [1, 1]
    )


def test_the_needed_number_finds_its_effect_four_times_in_five():
    """Differences with mean 2 points and the spread of a study of 300: as many as
    `required_sample_size` says give p < 0.05 in 80 % of trials."""
    rng = np.random.default_rng(0)
    spread = rng.choice([-1.0, 0.0, 1.0], 300, p=[0.05, 0.9, 0.05])
    count = int(required_sample_size(spread.std() / np.sqrt(300), 300))
    assert count == int(np.ceil(spread.var() * (norm.ppf(0.975) + norm.ppf(0.8)) ** 2 / 0.02**2))
    trials = 0.02 + rng.normal(0, spread.std(), (2000, count))
    assert np.mean(
        np.abs(trials.mean(1) / (trials.std(1) / np.sqrt(count))) > 1.96
    ) == pytest.approx(0.8, abs=0.03)


def test_paired_tables_judge_by_scene():
    rng = np.random.default_rng(1)
    a = run({"position_matching": 0.5, "camera_motion_infer": 0.5}, 0)
    b = a.assign(score=np.where(rng.random(len(a)) < 0.15, 1 - a.score, a.score))
    lead = a.assign(score=np.where(a.task == "position_matching", 1.0, a.score))
    found = paired_difference(lead, b).set_index("task")
    assert found.better.to_dict() == {"position_matching": True, "camera_motion_infer": False}
    assert (
        found.p["position_matching"] < 0.001 < 0.05 < found.p["camera_motion_infer"]
        and (found.p_holm >= found.p).all()
    )
    whole = overall_paired(lead, b).set_index("level").loc["all"]
    assert (
        np.isclose(whole.difference, found.difference.mean())
        and whole["items"] == 400
        and whole.scenes == 20
    )
    assert paired_difference(a, a).needed.isna().all() and paired_difference(a, a).p.tolist() == [
        1,
        1,
    ]
    assert (
        best_run_per_task({"a": a, "lead": lead}).groupby("task").run.first()["position_matching"]
        == "lead"
    )


# ---- against slow and plain ways of doing the same
def two_runs(scenes=9, seed=3):
    """Tasks of three levels with unlike numbers of questions in scenes of unlike size, answers that
    agree within a scene; the second run is a changed copy."""
    rng = np.random.default_rng(seed)
    rows = []
    for task, count in (
        ("depth_prediction_oc", 60),
        ("position_matching", 35),
        ("camera_motion_infer", 80),
        ("distance_infer_center_oo", 50),
    ):
        for k in range(count):
            scene = int(rng.integers(scenes) * rng.random() ** 0.5)
            rows.append(
                dict(
                    id=f"room{scene}_{k}",
                    task=task,
                    format="select",
                    answer="A",
                    prediction="A" if rng.random() < 0.3 + 0.4 * scene / scenes else "B",
                )
            )
    a = score_rows(rows)
    return a, a.assign(
        score=np.where(rng.random(len(a)) < 0.35, rng.random(len(a)).round(1), a.score)
    )


def plain_mean(values, tasks):
    """The mean of the tasks' means."""
    return np.mean([values[tasks == task].mean() for task in np.unique(tasks)])


def test_the_bootstrap_of_scenes_is_the_plain_one():
    """Scenes drawn in a loop, their rows put together, the tasks' means averaged: the same interval
    but for the luck of the draws."""
    table, other = two_runs(25)  # of fewer the interval is not from draws
    rng = np.random.default_rng(0)
    names = table.scene.unique()
    rows = {name: np.flatnonzero(table.scene == name) for name in names}
    values = table.score.to_numpy()
    tasks = table.task.to_numpy()
    gaps = (table.score - other.score).to_numpy()
    draws = [
        np.concatenate([rows[name] for name in rng.choice(names, len(names))]) for _ in range(2000)
    ]
    cut = expanded_alpha(len(names))
    for found, what in (
        (overall_intervals(table, 8000), values),
        (overall_paired(table, other, 8000), gaps),
    ):
        means = [plain_mean(what[drawn], tasks[drawn]) for drawn in draws]
        whole = found.set_index("level").loc["all"]
        assert np.allclose([whole.low, whole.high], np.quantile(means, [cut, 1 - cut]), atol=0.02)
    assert np.isclose(whole.difference, plain_mean(gaps, tasks))
    error = np.std(means) * np.sqrt(len(names) / (len(names) - 1))
    assert np.isclose(
        whole.needed,
        len(table) * (error * (norm.ppf(0.975) + norm.ppf(0.8)) / 0.02) ** 2,
        rtol=0.08,
    )


def test_the_permutation_of_scenes_is_the_plain_one():
    """All 2^9 ways to swap the two runs within scenes, the mean of task means each time; and by
    task against scipy."""
    a, b = two_runs()
    names = a.scene.unique()
    tasks = a.task.to_numpy()
    gaps = (a.score - b.score).to_numpy()
    place = a.scene.map({name: k for k, name in enumerate(names)}).to_numpy()
    signs = np.array(list(product((1, -1), repeat=len(names))))
    means = np.array([plain_mean(gaps * sign[place], tasks) for sign in signs])
    p = np.mean(np.abs(means) >= abs(plain_mean(gaps, tasks)) - 1e-12)
    assert np.isclose(overall_paired(a, b).set_index("level").p["all"], p) and 0.002 < p < 1
    task = tasks == "camera_motion_infer"
    totals = [
        np.bincount(place[task], weights=scores[task], minlength=len(names))
        for scores in (a.score.to_numpy(), b.score.to_numpy())
    ]
    theirs = permutation_test(
        totals,
        lambda x, y, axis: (x - y).sum(axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    ).pvalue
    assert np.isclose(paired_difference(a, b).set_index("task").p["camera_motion_infer"], theirs)


def test_the_share_of_a_factor_is_the_r_squared_of_a_regression():
    rows = planted()
    scores = score_rows(rows)
    factors = item_factors(rows)
    found = factor_table(scores, factors, 199).set_index("factor")
    dummies = {name: pd.get_dummies(factors[name]).to_numpy(float) for name in found.index}

    def adjusted(names):
        model = LinearRegression().fit(np.hstack([dummies[name] for name in names]), scores.score)
        r2 = model.score(np.hstack([dummies[name] for name in names]), scores.score)
        freedom = sum(dummies[name].shape[1] - 1 for name in names)
        return 1 - (1 - r2) * (len(scores) - 1) / (len(scores) - 1 - freedom)

    # shuffling takes off what the adjustment takes off: the luck of as many levels
    for name in found.index:
        others = [other for other in found.index if other != name]
        assert found.beyond[name] == pytest.approx(
            max(0, adjusted([name, *others]) - adjusted(others)), abs=1e-9
        )
        assert found.share[name] == pytest.approx(
            max(0, adjusted([name])), abs=0.004 if name != "source" else 0.03
        )


# ---- chance
def test_options_are_counted_in_the_question():
    assert (
        option_count(dict(task="position_matching", answer="A", question="?\nA. 1\nB. 2\nC. 3"))
        == 3
    )
    assert (
        option_count(dict(task="obj_spatial_relation_oo", answer="Yes")) == 2
        and option_count(dict(task="distance_infer_center_oo_mv", answer="A")) == 2
    )
    assert (
        option_count(dict(task="obj_spatial_relation_oo", answer="D")) == 4
        and option_count(dict(task="view_change_infer", answer="move_left:1")) is None
    )


def test_chance_adjusted_accuracy_by_hand():
    rows = [
        dict(id=f"r_{k}", task="position_matching", answer="A", prediction="A" if k < 70 else "B")
        for k in range(100)
    ]
    rows += [
        dict(id=f"q_{k}", task="distance_infer_center_oo", answer="AB"[k % 2], prediction="A")
        for k in range(50)
    ]
    table = baselines(rows).set_index("task")
    assert (
        table.chance.to_dict() == {"position_matching": 0.25, "distance_infer_center_oo": 0.5}
        and table.constant_score["position_matching"] == 1
    )
    found = intervals(chance_adjusted(score_rows(rows), baselines(rows))).set_index("task").score
    assert np.isclose(found["position_matching"], (70 - 25) / (100 - 25)) and np.isclose(
        found["distance_infer_center_oo"], 0
    )


def test_the_best_constant_is_worth_nothing_and_no_motion_something():
    rng = np.random.default_rng(0)
    true = rng.lognormal(0.7, 0.5, 300).round(1).clip(0.1)
    rows = [
        dict(id=f"r_{k}", task="depth_prediction_oc", answer=f"{v:.1f}", prediction="")
        for k, v in enumerate(true)
    ]
    best = baselines(rows).constant[0]
    said = [dict(row, prediction=best) for row in rows]
    assert np.isclose(chance_adjusted(score_rows(said), baselines(rows)).score.mean(), 0, atol=1e-9)
    assert (
        chance_adjusted(
            score_rows([dict(row, prediction=row["answer"]) for row in rows]), baselines(rows)
        ).score.mean()
        == 1
    )
    still = [
        dict(
            id=f"v_{k}",
            task="view_change_infer",
            answer=f"move_{'left' if k % 2 else 'right'}:{k % 7 + 1}",
            prediction="",
        )
        for k in range(60)
    ]
    found = baselines(still)
    assert np.isclose(found.no_motion[0], 0.8) and 0.8 < found.baseline[0] < 0.9, (
        "four of five axes are zero"
    )


# ---- factors
def planted(count=1500):
    """Better at near things; the letter A is given too often; the second source is harder, and it
    is the same for a whole scene."""
    rng = np.random.default_rng(1)
    rows = []
    for k in range(count):
        scene = k // 25
        letter = "ABCD"[rng.integers(4)]
        source = "scannet" if scene % 2 else "scannetpp"
        good = rng.random() < 0.3 + 0.4 * (letter == "A") + 0.2 * (source == "scannet")
        rows.append(
            dict(
                id=f"s{scene}_{k}",
                task="position_matching",
                source=source,
                answer=letter,
                prediction=letter if good else "E",
                question=f"Where is the {('chair', 'lamp', 'sofa')[rng.integers(3)]} (red bbox)?",
            )
        )
    return rows


def test_planted_factors_are_found_and_others_are_not():
    rows = planted()
    scores = score_rows(rows)
    factors = item_factors(rows)
    table = factor_table(scores, factors, 499).set_index("factor")
    assert set(table.index) == {"source", "object asked about", "right answer"}
    assert (
        table.p_holm["right answer"] < 0.02
        and table.p_holm["source"] < 0.02
        and table.p_holm["object asked about"] > 0.05
    )
    # letter: variance of its effect (0.4 * (1 - 1/4)^2, three times 0.1^2) over p (1 - p) on the
    # whole
    assert (
        table.share["right answer"] == pytest.approx(0.03 / 0.25, abs=0.05)
        and table.high_level["right answer"] == "A"
    )
    effects = factor_effects(scores, factors, "right answer").set_index("level")
    assert effects.low["A"] > 0.2 and (effects.effect[["B", "C", "D"]] < 0).all()


def test_a_factor_of_whole_scenes_is_shuffled_by_scene():
    """Scenes differ, sources do not: among items a source of four scenes looks like a strong cause,
    among scenes it does not."""
    hits = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        level = rng.normal(0, 0.25, 8)
        rows = [
            dict(
                id=f"s{k // 40}_{k}",
                task="position_matching",
                source="ab"[k // 160],
                answer="A",
                prediction="A" if rng.random() < 0.5 + level[k // 40] else "B",
            )
            for k in range(320)
        ]
        hits += (
            factor_table(score_rows(rows), item_factors(rows), 39).set_index("factor").p["source"]
            <= 0.05
        )
    assert hits <= 3


def test_the_best_of_runs_where_a_task_has_no_score_in_any():
    """pandas 2 answers NaN and drops the task's rows from every run, pandas 3 raises: "Encountered
    all NA values"."""
    unscored = run({"depth_prediction_oc": 1.0}, 3).assign(score=np.nan)
    a = pd.concat([run({"position_matching": 0.2}, 1), unscored.head(5)], ignore_index=True)
    b = pd.concat([run({"position_matching": 0.7}, 2), unscored], ignore_index=True)
    best = best_run_per_task(
        {"only a question": run({"spatial_imagination_oo": 0.5}, 4).head(1), "a": a, "b": b}
    )
    assert best.groupby("task").run.first().to_dict() == {
        "position_matching": "b",
        "depth_prediction_oc": "a",
        "spatial_imagination_oo": "only a question",
    }
    assert (
        best.groupby("task").size()["depth_prediction_oc"] == 5
        and best[best.task == "depth_prediction_oc"].score.isna().all()
    )
    gap = paired_difference(b, best)
    assert list(gap.task) == ["position_matching"] and gap.difference[0] == 0


def test_a_factor_that_says_the_same_as_another_adds_nothing():
    rows = planted()
    factors = item_factors(rows)
    table = factor_table(
        score_rows(rows),
        factors.assign(twin=factors["right answer"].map({"A": "x", "B": "y", "C": "z", "D": "w"})),
        199,
    ).set_index("factor")
    assert (
        table.share["twin"] > 0.05
        and table.beyond["twin"] < 0.01
        and table.beyond["right answer"] < 0.01
    )


def test_a_factor_cannot_be_strong_because_a_task_is_easy():
    rng = np.random.default_rng(0)
    rows = []
    for k in range(600):
        easy = k % 2
        rows.append(
            dict(
                id=f"s{k // 20}_{k}",
                task="position_matching" if easy else "camera_motion_infer",
                source="ab"[int(rng.random() < (0.9 if easy else 0.1))],
                answer="A",
                prediction="A" if rng.random() < (0.9 if easy else 0.2) else "B",
            )
        )
    assert (
        factor_table(score_rows(rows), item_factors(rows), 199).set_index("factor").p["source"]
        > 0.05
    )


def test_labels():
    assert (
        first_label("Is the trash can (blue bbox) left of it?") == "trash can"
        and first_label("From the books (red point) to the tv (blue point)") == "books"
    )
    assert (
        first_label("What position is the sink (bbox) at?") == "sink"
        and first_label("Is the object (red bbox) above?") is None
    )


def test_facts_of_a_folder(tmp_path):
    import orjson
    from PIL import Image

    home = tmp_path / "spar/toy"
    (home / "qa_jsonl/val/distance_infer_center_oo/fill").mkdir(parents=True)
    (home / "images/r/image_instance").mkdir(parents=True)
    Image.fromarray(np.array([[0, 1], [1, 7]], np.uint16)).save(
        home / "images/r/image_instance/0.png"
    )
    record = {
        "id": "r_0",
        "type": "distance_infer_center_oo",
        "image": ["r/image_color/0.jpg"],
        "conversations": [
            {"from": "human", "value": "?"},
            {"from": "gpt", "value": "chair (green point)"},
        ],
        "facts": {"task": "distance_infer_center_oo", "format": "fill", "distance": [2.5, 0.5]},
    }
    (home / "qa_jsonl/val/distance_infer_center_oo/fill/fill_0.jsonl").write_bytes(
        orjson.dumps(record)
    )
    found = dataset_facts(tmp_path)
    assert found.to_dict("records") == [
        {
            "task": "distance_infer_center_oo",
            "format": "fill",
            "id": "r_0",
            "distance": 0.5,
            "in_view": 2.0,
        }
    ]
    factors = item_factors(
        [
            dict(
                id="r_0",
                task="distance_infer_center_oo",
                format="fill",
                answer="chair (green point)",
            )
        ],
        found,
    )
    assert factors.distance[0] == "under 1 m" and factors["objects in view"][0] == "under 5"


def test_a_whole_benchmark_has_all_its_tables():
    table = run(dict.fromkeys(list(TASKS)[:20], 0.5), 0, each=1, count=361)
    assert len(intervals(table)) == 20 and overall_intervals(table).level.tolist() == [
        "low",
        "medium",
        "high",
        "all",
    ]
    assert overall_intervals(table).scenes.max() == 361
