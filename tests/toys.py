"""What several tests share: scenes made of solid boxes, a source that serves them, and what a
reader complains of."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

from spar_kit.scenes.box_room import BoxObject, box_room_scene, raycast_boxes, solid, toy_surface
from spar_kit.scenes.scene import Camera, Frame, Instance, OrientedBox, Scene, SceneError, look_at


def complaint(call: Callable, *args: object) -> str:
    """The one line of the SceneError that a call must end with."""
    with pytest.raises(SceneError) as caught:
        call(*args)
    message = str(caught.value)
    assert "\n" not in message
    return message


def draw(solids: Sequence[BoxObject], camera: Camera, pose: np.ndarray, which: int) -> np.ndarray:
    """What the camera sees of the boxes, ray by ray: 0 depth (h, w) in meters, 1 ids (h, w), 2
    color (h, w, 3)."""
    return raycast_boxes(solids, camera, pose)[which]


def box_scene(
    name: str,
    solids: Sequence[BoxObject],
    poses: Iterable[np.ndarray],
    *,
    cameras: tuple[Camera, Camera],
    room: str,
    sides: tuple[float, float],
    ids: bool = False,
) -> Scene:
    """A room of `sides` meters with these boxes; `cameras` are the color and the depth camera;
    with `ids` the frames bring instance images."""
    color, depth = cameras
    frames = [
        Frame(
            i,
            pose,
            color,
            depth,
            partial(draw, solids, color, pose, 2),
            partial(draw, solids, depth, pose, 0),
            read_instances=partial(draw, solids, depth, pose, 1) if ids else None,
        )
        for i, pose in enumerate(poses)
    ]
    instances = tuple(Instance(s.id, s.label, OrientedBox.fit(s.box.corners)) for s in solids)
    x, y = sides
    return Scene(
        name=name,
        source="synthetic",
        frames=tuple(frames),
        instances=instances,
        surface=toy_surface(solids),
        room_type=room,
        floor=(np.array([[0.0, 0], [x, 0], [x, y], [0, y]]),),
    )


def floor_and_wall() -> list[BoxObject]:
    """Of a room of 6 m x 5 m: ids 1 and 2."""
    return [
        solid(1, "floor", (3, 2.5, -0.05), size=(6, 5, 0.1), yaw_degrees=0, rgb=(170, 150, 130)),
        solid(2, "wall", (3, 5.05, 1.3), size=(6, 0.1, 2.6), yaw_degrees=0, rgb=(225, 220, 205)),
    ]


def walk_round(count: int) -> Iterator[np.ndarray]:
    """Camera poses (4, 4) on a way round a room of 6 m x 5 m, looking across it."""
    for angle in 2 * np.pi * np.arange(count) / count:
        eye = np.array(
            [3 + 1.6 * np.cos(angle), 2.5 + 1.2 * np.sin(angle), 2.2 + 0.25 * np.sin(3 * angle)]
        )
        turn = angle + 1.2
        yield look_at(
            eye,
            np.array(
                [3 + 2.2 * np.cos(turn), 2.5 + 1.8 * np.sin(turn), 0.4 + 0.3 * np.cos(2 * angle)]
            ),
        )


def busy_room(name: str, frames: int = 40) -> Scene:
    """A room of 6 m x 5 m with two dozen boxes of twelve kinds, seen by a camera that walks round
    it: enough for every task."""
    generator = np.random.default_rng(3)
    solids = floor_and_wall()
    labels = """chair chair chair table lamp lamp cabinet sofa desk stool stool box box plant shelf monitor bed basket basket
        clock""".split()  # noqa: E501
    while labels:
        size = np.exp(generator.uniform(np.log(0.25), np.log(0.9), 3))
        x = generator.uniform(0.8, 5.2)
        y = generator.uniform(0.8, 4.2)
        lift = generator.choice([0, 0, 0.5, 1.0])
        center = np.array([x, y, size[2] / 2 + lift])
        if all(np.abs(center - s.box.center).max() > 0.62 for s in solids[2:]):
            turn = generator.uniform(0, 180)
            rgb = tuple(generator.integers(60, 250, 3))
            solids.append(
                solid(
                    len(solids) + 2,
                    labels.pop(),
                    tuple(center),
                    size=tuple(size),
                    yaw_degrees=turn,
                    rgb=rgb,
                )
            )
    cameras = (
        Camera.from_fov(240, 180, 75),
        Camera(160, 120, np.array([[104.0, 0, 76], [0, 105, 62], [0, 0, 1]])),
    )
    return box_scene(
        name, solids, walk_round(frames), cameras=cameras, room="room", sides=(6, 5), ids=True
    )


@dataclass(frozen=True)
class Toys:
    """A source of made-up scenes: `make` builds the one of a name."""

    names: tuple[str, ...] = ("room0000_00",)
    make: Callable[[str], Scene] = box_room_scene
    name: str = "synthetic"

    def scenes(self, split: str | None = None) -> list[str]:
        return list(self.names)

    def load(self, scene: str) -> Scene:
        return self.make(scene)

    def describe(self) -> dict:
        return {"kind": "toy"}
