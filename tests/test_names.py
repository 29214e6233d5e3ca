"""Names tell little of depths and distances: what a reader who knows only the names can learn from
some rooms does not help him in others."""

import numpy as np
import pytest

from spar_kit.scenes.procedural.source import Synthetic
from spar_kit.scenes.visibility import compute_visibility
from spar_kit.tasks.families import depth_distance_size as perception
from spar_kit.tasks.registry import compute_facts, rng_for
from spar_kit.tasks.sampling.name_debiasing import even_names
from spar_kit.tasks.scene_index import index_scene

ROOMS = 12


@pytest.fixture(scope="module")
def observed():
    source = Synthetic(count=ROOMS, seed=77, width=320, height=240)
    scenes = [source.load(name) for name in source.scenes("train")]
    return {scene.name: index_scene(scene, compute_visibility(scene)) for scene in scenes}


def gain_of_names(observed, task):
    """The correlation of answers in each room with the mean answer about the same name in the other
    rooms (both as logarithms), and the answers."""
    rooms = []
    names = []
    values = []
    for room, observation in observed.items():
        facts = compute_facts(task, observation, rng_for(77, room, task), 100)
        rooms += [room] * len(facts)
        names += [observation.names[objects[-1]] for objects in facts.objects.tolist()]
        values += np.log(facts.numbers["answer"]).tolist()
    rooms = np.array(rooms)
    names = np.array(names)
    values = np.array(values)
    known = np.full(len(values), values.mean())
    for i in range(len(values)):
        others = values[(names == names[i]) & (rooms != rooms[i])]
        # shrunk: few others say little
        known[i] = (others.sum() + 3 * values.mean()) / (len(others) + 3)
    return float(np.corrcoef(known, values)[0, 1]), values


@pytest.mark.parametrize(
    ("task", "drop"),
    [("depth_prediction_oc", 0.1), ("depth_prediction_oc_mv", 0), ("distance_prediction_oc", 0)],
)
def test_names_tell_little_of_the_answer(observed, task, drop, monkeypatch):
    """A lone object leaves little to choose from: of distances the weights take less away than of
    depths."""
    gain, values = gain_of_names(observed, task)
    monkeypatch.setattr(perception, "even_names", lambda lengths, *_: np.zeros(len(lengths)))
    before, _ = gain_of_names(observed, task)
    assert gain < before - drop, "the weights make no difference"
    assert gain < 0.35
    assert values.std() > 0.4, "the answers are still spread over a factor of about five"


def test_groups_get_the_mean_that_is_asked_for_and_none_is_lost():
    rng = np.random.default_rng(0)
    groups = rng.integers(5, size=(4000, 2))
    lengths = np.exp(0.3 * groups[:, 0] - 0.2 * groups[:, 1] + 0.5 * rng.normal(size=4000))
    logs = even_names(lengths, groups, around=2.0)
    weights = np.exp(logs)
    assert np.isfinite(logs).all()
    for column in range(2):
        for group in range(5):
            own = groups[:, column] == group
            assert np.average(np.log(lengths[own]), weights=weights[own]) == pytest.approx(
                np.log(2), abs=0.03
            )
    assert np.allclose(logs, even_names(lengths, groups * 7 - 100, around=2.0)), (
        "the numbers of the groups are only names"
    )


def test_a_mean_that_cannot_be_reached_gives_finite_weights():
    logs = even_names(
        np.r_[np.full(30, 0.5), np.geomspace(1, 5, 30)],
        np.r_[np.zeros(30, int), np.ones(30, int)][:, None],
        around=2.3,
    )
    assert np.isfinite(logs).all() and np.ptp(logs[:30]) == 0
