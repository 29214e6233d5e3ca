"""How tall an object is: a thirty-sixth task. Its words are in templates/object_height.yaml."""

from dataclasses import replace

from spar_kit.tasks.facts import Task
from spar_kit.tasks.families.depth_distance_size import spatial_volume_infer


def object_height(observation, rng, count):
    """The object in the red box; answer (n,) its height, meters."""
    facts = spatial_volume_infer(observation, rng, count)
    return replace(facts, task="object_height", numbers={"answer": facts.numbers["size"][:, 2]})


TASK = Task(
    name="object_height",
    level="low",
    views="single",
    formats=("fill", "sentence"),
    markers=("red_bbox",),
    compute=object_height,
    package="object_height",
)


def add_to_oracle(register):
    from spar_kit.oracle.derive.single_view import quantity
    from spar_kit.oracle.evidence.record import TaskSpec

    spec = TaskSpec(images=1, marks=("red_bbox",), formats=("fill", "sentence"))
    register("object_height", spec, lambda item: quantity(item, item.thing(0).size[2]))
