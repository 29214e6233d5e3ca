"""A reader of a dataset of one's own: a folder a scan, with pictures, depth images, poses and
boxes.

    SCANS/kitchen/scene.json cameras and boxes SCANS/kitchen/0.jpg 0.png 0.txt picture, depth in
    millimeters, camera-to-world pose of frame 0

    SCANS=SCANS spar generate python:docs/examples/my_scans.py:MyScans --out data
"""

import json
import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spar_kit.scenes.geometry.depth_fusion import fuse_depth
from spar_kit.scenes.scene import (
    Camera,
    Frame,
    Instance,
    OrientedBox,
    Scene,
    SceneError,
    is_valid_pose,
)


def read_color(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path).convert("RGB"))


def read_depth(path: Path) -> NDArray[np.float32]:
    """Meters along the optical axis, 0 where there is no value."""
    return np.asarray(Image.open(path), np.float32) / 1000


def read_frame(folder: Path, number: int, color: Camera, depth: Camera) -> Frame:
    """Only the pose is read now; the images are read when they are asked for."""
    file = folder / f"{number}.txt"
    pose = np.loadtxt(file)
    if pose.shape != (4, 4) or not is_valid_pose(pose):
        raise SceneError("expected 4 x 4 numbers of a rotation and a place", file)
    return Frame(
        number,
        pose,
        color,
        depth,
        partial(read_color, folder / f"{number}.jpg"),
        partial(read_depth, folder / f"{number}.png"),
    )


def read_box(id: int, box: dict[str, Any]) -> Instance:
    return Instance(
        id, box["label"], OrientedBox(np.array(box["center"]), np.array(box["size"]), box["yaw"])
    )


@dataclass(frozen=True)
class MyScans:
    root: Path = field(default_factory=lambda: Path(os.environ.get("SCANS", "scans")))
    name: str = "myscans"

    def scenes(self, split: str | None = None) -> list[str]:
        return sorted(path.name for path in self.root.iterdir() if path.is_dir())

    def load(self, scene: str) -> Scene:
        folder = self.root / scene
        about = json.loads((folder / "scene.json").read_text(encoding="utf-8"))
        color, depth = (
            Camera(*about["cameras"][name]["size"], np.array(about["cameras"][name]["K"]))
            for name in ("color", "depth")
        )
        numbers = sorted(int(path.stem) for path in folder.glob("*.jpg"))
        frames = tuple(read_frame(folder, number, color, depth) for number in numbers)
        instances = tuple(read_box(id, box) for id, box in enumerate(about["boxes"], 1))
        return Scene(
            name=scene,
            source=self.name,
            frames=frames,
            instances=instances,
            surface=fuse_depth(frames, instances, labels="boxes"),
        )

    def describe(self) -> dict[str, Any]:
        return {"kind": "my scans"}
