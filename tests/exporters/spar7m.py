"""A room written as SPAR-7M-RGBD was released: its tree, its field names, its wording.

Nothing here knows the reader or the oracle. Every answer is computed from the room's boxes; the
files hold only what the release holds: color, depth, poses, intrinsics, video, and lines of
questions. No instance labels, no boxes in 3D, no facts.
"""

import itertools
import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

CENTER = "Calculate or judge based on the 3D center points of these objects."
FILL = (
    "Answer using a single number and nothing else.",
    "The answer should be a single number, nothing more.",
    "Your response should consist of just one numeric value.",
    "Only one number should be included in your response.",
)
SELECT = (
    "Choose the appropriate option from the choices provided.",
    "Pick the correct answer from the choices provided.",
    "Select the right response from the available choices.",
    "Please select the correct option from the choices provided.",
)
FIRST = (
    "The first image is positioned to serve as the main viewpoint for the observer.",
    "We establish the main perspective by aligning the first image with the observer's view.",
)
BEFORE = (
    "Provide your answer from the observer's point of view, with the first image set as the main"
    " view before the move."
)
WORLD_UP = (
    "Please use the world coordinate system to determine the up and down position relationship of"
    " objects."
)
AFTER = "For multiple-choice questions, consider only the state after the observer has moved."
OC = (
    "The options describe the spatial relationship between object and observer in terms of"
    " left-right (left, right, or empty if indistinguishable), above-below (above, below, or empty"
    " if indistinguishable), and front-behind (front, behind, or empty if indistinguishable)."
)
OO = (
    "The options describe the spatial relationship between two objects in terms of left-right"
    " (left, right, or empty if indistinguishable), above-below (above, below, or empty if"
    " indistinguishable), and farther-closer (farther, closer, or empty if indistinguishable)."
)
OO_MV = (
    "The options describe the spatial relationship between two objects in terms of left-right"
    " (left, right, or empty if indistinguishable), above-below (above, below, or empty if"
    " indistinguishable), closer-farther (closer, farther, or empty if indistinguishable), the"
    " first object is in front of or behind the observer (front, behind, or empty if"
    " indistinguishable), the second object is in front of or behind the observer (front, behind,"
    " or empty if indistinguishable)."
)
FOUR = "Your answer can only include one of options A, B, C or D."
TWO = "Your answer can only include one of options A, B."
FOUR_BOXES = "Your answer can only include one of the options A, B, C, or D."
MOVE = (
    "Provide the camera movement and rotation in the following"
    " format:\nmove_<right_or_left>:<meters>,move_<down_or_up>:<meters>,move_<forward_or_back>:<meters>,rotate_<down_or_up>:<degrees>,rotate_<right_or_left>:<degrees>\n-"  # noqa: E501
    " The first three values are in meters.\n- The last two values are in degrees.\n- Use commas to"
    " separate each parameter.\n- Do not include any additional"
    " text.\nExample:move_left:2.6,move_down:0.1,move_forward:0.2,rotate_up:10,rotate_left:0"
)
FORMATS = {"f": "fill", "s": "select", "t": "sentence", "j": "judge"}


@dataclass(frozen=True)
class Shot:
    """What one frame shows: of each object its box in 0-1000 and its marker, both integers."""

    boxes: dict[int, tuple[int, int, int, int]]
    points: dict[int, tuple[int, int]]
    share: dict[int, float]


def shot_of(frame, centers) -> Shot:
    """Objects with at least 40 pixels in the instance image, seen through the depth camera and
    moved to the color image by both intrinsics."""
    ids = frame.read_instances()
    K = frame.depth.intrinsics
    C = frame.color.intrinsics
    wide = frame.color.width
    high = frame.color.height
    boxes = {}
    points = {}
    share = {}
    for id in np.unique(ids):
        rows, columns = np.nonzero(ids == id)
        if id not in centers or len(rows) < 40:
            continue
        x = ((columns - K[0, 2]) / K[0, 0] * C[0, 0] + C[0, 2] + 0.5) / wide * 1000
        y = ((rows - K[1, 2]) / K[1, 1] * C[1, 1] + C[1, 2] + 0.5) / high * 1000
        pad = 500 / ids.shape[1]
        box = np.array([x.min() - pad, y.min() - pad, x.max() + pad, y.max() + pad]).clip(0, 1000)
        if (box[2:] - box[:2]).min() < 20:
            continue
        boxes[int(id)] = tuple(int(v) for v in np.rint(box))
        p = (centers[int(id)] - frame.camera_to_world[:3, 3]) @ frame.camera_to_world[:3, :3]
        u = C[0, 0] * p[0] / p[2] + C[0, 2]
        v = C[1, 1] * p[1] / p[2] + C[1, 2]
        at = np.array([(u + 0.5) / wide, (v + 0.5) / high]) * 1000
        k = np.hypot(x - at[0], y - at[1]).argmin()
        # the center is hidden: the nearest pixel well inside of what is visible
        if p[2] < 0.3 or np.hypot(x[k] - at[0], y[k] - at[1]) > 5:
            inner = ndimage.binary_erosion(ids == id, iterations=2)[rows, columns]
            inner = inner if inner.any() else np.ones(len(rows), bool)
            k = np.flatnonzero(inner)[np.hypot(x - at[0], y - at[1])[inner].argmin()]
            at = np.array([x[k], y[k]])
        at = at.clip(0, 1000)
        points[int(id)] = (int(at[0]), int(at[1]))
        share[int(id)] = len(rows) / ids.size
    return Shot(boxes, points, share)


class Room:
    """One scene and all the questions that can be asked of it in a released dataset."""

    def __init__(self, scene, seed: int = 0, step: int = 10):
        self.scene = scene
        self.rng = np.random.default_rng(seed)
        self.step = step
        self.things = {
            i.id: i for i in scene.instances if i.label not in ("floor", "wall", "ceiling")
        }
        self.center = {id: np.asarray(i.box.center) for id, i in self.things.items()}
        self.frames = scene.frames
        self.shots = [shot_of(frame, self.center) for frame in self.frames]
        self.video = (
            [int(v) for v in np.linspace(0, len(self.frames) - 1, 32)]
            if len(self.frames) >= 32
            else []
        )

    # ------------------------------------------------------------------------------------------------------------------  # noqa: E501
    # geometry
    def seen(self, id: int, row: int) -> np.ndarray:
        """Right, down, forward of an object's center in a frame's camera, meters."""
        pose = self.frames[row].camera_to_world
        return (self.center[id] - pose[:3, 3]) @ pose[:3, :3]

    def moved(self, id: int, green: int, blue: int) -> np.ndarray:
        """Right, up (world), forward for an observer at green who faces blue."""
        ahead = (self.center[blue] - self.center[green])[:2]
        ahead = ahead / np.linalg.norm(ahead)
        d = self.center[id] - self.center[green]
        return np.array([d[0] * ahead[1] - d[1] * ahead[0], d[2], d[:2] @ ahead])

    @staticmethod
    def words(
        x: float, up: float, third: float, pair: tuple[str, str], zones=(0.3, 0.3, 0.3)
    ) -> list[str]:
        return [
            "" if abs(x) < zones[0] else "right" if x > 0 else "left",
            "" if abs(up) < zones[1] else "above" if up > 0 else "below",
            "" if abs(third) < zones[2] else pair[int(third > 0)],
        ]

    def to_observer(self, p: np.ndarray, up: float | None = None) -> list[str]:
        return self.words(
            p[0], -p[1] if up is None else up, p[2], ("behind", "front"), (0.3, 0.3, 0.15)
        )

    def between(self, a: np.ndarray, b: np.ndarray, up: float | None = None) -> list[str]:
        return self.words(
            a[0] - b[0],
            b[1] - a[1] if up is None else up,
            np.linalg.norm(a) - np.linalg.norm(b),
            ("closer", "farther"),
        )

    # ------------------------------------------------------------------------------------------------------------------  # noqa: E501
    # pieces of a record
    def label(self, id: int) -> str:
        return self.things[id].label

    def pick(self, row: int, n: int) -> list[int] | None:
        known = sorted(self.shots[row].boxes)
        return (
            [int(v) for v in self.rng.choice(known, n, replace=False)] if len(known) >= n else None
        )

    def views(self) -> list[int]:
        return [int(v) for v in self.rng.choice(len(self.frames), 3, replace=False)]

    def spread(
        self, n: int, rows: Sequence[int], distinct: bool = True
    ) -> tuple[list[int], list[int]] | None:
        """n different objects over the views: ids and which view marks each."""
        ids = []
        places = []
        for k in self.rng.permutation(np.arange(n) % len(rows)):
            free = [id for id in sorted(self.shots[rows[k]].boxes) if id not in ids]
            if not free:
                return None
            ids.append(int(self.rng.choice(free)))
            places.append(int(k))
        return ids, places

    def letter(
        self, gold: str, others: Sequence[str], tail: str = FOUR, note: str = ""
    ) -> tuple[str, str]:
        """Options in a random order: what is added to the question, and the gold letter."""
        texts = list(dict.fromkeys([gold, *others]))[: 2 if tail == TWO else 4]
        assert len(texts) == (2 if tail == TWO else 4), texts
        order = [texts[k] for k in self.rng.permutation(len(texts))]
        lines = "\n".join(f"{chr(65 + k)}. {text}" for k, text in enumerate(order))
        return f"{note}{' ' if note else ''}{self.rng.choice(SELECT)}\n{lines}\n{tail}", chr(
            65 + order.index(gold)
        )

    def number(self, form: str, question: str, value: float, sentence: str) -> tuple[str, str]:
        text = f"{value:.1f}"
        if form == "fill":
            return f"{question} {self.rng.choice(FILL)}", text
        if form == "sentence":
            return question, sentence.format(text)
        others = [
            f"{v:.1f}" for v in (value * 1.6 + 0.3, value * 0.5 + 0.1, value * 2 + 0.6, value + 2.5)
        ]
        tail, gold = self.letter(text, [o for o in others if o != text])
        return f"{question} {tail}", gold

    def triple(
        self,
        form: str,
        question: str,
        words: list[str],
        *,
        legend: str,
        sentence: str,
        note: str = "",
    ) -> tuple[str, str] | None:
        if not any(words[:3]):
            return None
        if form == "sentence":
            return question, sentence
        slots = [
            ("left", "right", ""),
            ("above", "below", ""),
            (
                ("closer", "farther", "")
                if "farther-closer" in legend or "closer-farther" in legend
                else ("front", "behind", "")
            ),
            ("front", "behind"),
            ("front", "behind"),
        ][: len(words)]
        every = [", ".join(option) for option in itertools.product(*slots) if any(option)]
        gold = ", ".join(words)
        others = [every[k] for k in self.rng.permutation(len(every)) if every[k] != gold][:3]
        tail, letter = self.letter(gold, others, note=f"{legend}{' ' if note else ''}{note}")
        return f"{question} {tail}", letter

    def record(
        self, task: str, rows: Sequence[int], text: tuple[str, str], video: bool = False, **marks
    ) -> dict:
        return {
            "task": task,
            "rows": [int(r) for r in rows],
            "video": video,
            "question": text[0],
            "answer": text[1],
            "marks": {key: [list(value)] for key, value in marks.items() if value is not None},
        }


def place(words: Sequence[str]) -> str:
    return " ".join(w for w in words if w in ("left", "right", "above", "below"))


# ----------------------------------------------------------------------------------------------------------------------  # noqa: E501
# one maker per task
def depth(room: Room, task: str, form: str) -> dict | None:
    multi = task.endswith("_mv")
    three = "_oo" in task
    rows = room.views() if multi else [int(room.rng.integers(len(room.frames)))]
    chosen = room.spread(2 + three, rows)
    if chosen is None:
        return None
    ids, at = chosen
    z = [room.seen(id, rows[k])[2] for id, k in zip(ids, at)]
    if min(z) < 0.4:
        return None
    names = [room.label(id) for id in ids]
    if three:
        question = (
            f"Assume {names[0]} (red point) has a depth of {z[0]:.1f}. How far apart in depth are"
            f" {names[2]} (green point) and {names[1]} (blue point), measured in meters? {CENTER}"
        )
        question += (
            " The depth is calculated based on the image where the markers corresponding to these"
            " objects are located."
            if multi
            else ""
        )
        value = abs(z[2] - z[1])
        said = (
            f"The depth of {names[2]} (green point) and {names[1]} (blue point) differs by {{}}"
            " meters."
        )
    else:
        question = (
            f"With the {names[0]} (red point) having a depth of {z[0]:.1f} meters, determine the"
            f" depth of {names[1]} (blue point) in the same frame.  {CENTER}"
        )
        question += "" if multi else " The unit is meter."
        value = z[1]
        said = f"{names[1]}'s central depth is estimated to be about {{}} meters."
    marks = {
        f"{c}_point": room.shots[rows[k]].points[id]
        for c, id, k in zip(("red", "blue", "green"), ids, at)
    }
    return room.record(
        task,
        rows,
        room.number(form, question, value, said),
        **marks,
        point_img_idx=at if multi else None,
    )


def distance_observer(room: Room, task: str, form: str) -> dict | None:
    multi = task.endswith("_mv")
    rows = room.views() if multi else [int(room.rng.integers(len(room.frames)))]
    chosen = room.spread(1, rows)
    if chosen is None:
        return None
    (id,), (at,) = chosen
    value = float(np.linalg.norm(room.seen(id, rows[0])))
    question = (
        f"How far in meters is the center of {room.label(id)} (red point) from the observer who"
        f" took the photo? {CENTER}" + (f" {room.rng.choice(FIRST)}" if multi else "")
    )
    return room.record(
        task,
        rows,
        room.number(
            form,
            question,
            value,
            f"{room.label(id)} (red point) lies at a distance of about {{}} meters from the"
            " observer.",
        ),
        red_point=room.shots[rows[at]].points[id],
        point_img_idx=[at] if multi else None,
    )


def distance_pair(room: Room, task: str, form: str) -> dict | None:
    video = task.endswith("_video")
    multi = task.endswith("_mv")
    if video:
        rows = room.video
    elif multi:
        rows = room.views()
    else:
        rows = [int(room.rng.integers(len(room.frames)))]
    chosen = room.spread(2, rows)
    if chosen is None:
        return None
    ids, at = chosen
    if video:
        at = [int(v) for v in room.rng.choice(32, 2, replace=False)]
        ids = [int(room.rng.choice(sorted(room.shots[rows[k]].boxes))) for k in at]
        if ids[0] == ids[1]:
            return None
    value = float(np.linalg.norm(room.center[ids[0]] - room.center[ids[1]]))
    a, b = (room.label(id) for id in ids)
    if video:
        question = (
            f"What is the distance in meters from the red center of the {a} (in Frame-{at[0]}) to"
            f" the blue center of {b} (in Frame-{at[1]}) in the video?"
        )
    else:
        question = (
            f"Please determine the center-to-center distance in meters between {a} (red point) and"
            f" {b} (blue point). {CENTER}"
        )
    return room.record(
        task,
        rows,
        room.number(
            form,
            question,
            value,
            f"The red point ({a}) and the blue point ({b}) have a distance of {{}} meters.",
        ),
        video,
        red_point=room.shots[rows[at[0]]].points[ids[0]],
        blue_point=room.shots[rows[at[1]]].points[ids[1]],
        point_img_idx=at if video or multi else None,
    )


def volume(room: Room, task: str, form: str) -> dict | None:
    row = int(room.rng.integers(len(room.frames)))
    ids = room.pick(row, 1)
    if ids is None or room.shots[row].share[ids[0]] < 0.004:
        return None
    box = room.things[ids[0]].box
    l, w, h = (max(1, round(100 * v)) for v in (*sorted(box.size[:2], reverse=True), box.size[2]))
    text = f"length is {l} cm, width is {w} cm, and height is {h} cm."
    question = (
        f"In the picture I passed along, could you clarify the {room.label(ids[0])} (red bbox)'s"
        " length, width, and height in centimeter?"
    )
    if form == "fill":
        answer = text
    else:
        answer = f"The {room.label(ids[0])} (red bbox) has a size of about: {text}"
    return room.record(task, [row], (question, answer), red_bbox=room.shots[row].boxes[ids[0]])


def matching(room: Room, task: str, form: str) -> dict | None:
    a, b = (int(v) for v in room.rng.choice(len(room.frames), 2, replace=False))
    both = sorted(set(room.shots[a].boxes) & set(room.shots[b].boxes))
    if not both or len(room.shots[b].boxes) < 4:
        return None
    id = int(room.rng.choice(both))
    text = lambda box: str(list(box))  # noqa: E731
    gold = text(room.shots[b].boxes[id])
    name = room.label(id)
    question = (
        f"Using the red bbox of {name} in the first image, identify and provide its bounding box in"
        " the second image."
    )
    if form == "select":
        tail, letter = room.letter(
            gold,
            [text(box) for other, box in sorted(room.shots[b].boxes.items()) if other != id],
            FOUR_BOXES,
        )
        answer = (f"{question} {tail}", letter)
    else:
        answer = (
            question,
            (gold if form == "fill" else f"The {name} in the second image is located at {gold}."),
        )
    return room.record(task, [a, b], answer, red_bbox=room.shots[a].boxes[id])


def camera_text(x: float, y: float, z: float) -> str:
    return f"Image Coor:({round(x)}, {round(y)}), Depth:{z:.1f} meters"


def camera_motion(room: Room, task: str, form: str) -> dict | None:
    for _ in range(400):
        a, b = (int(v) for v in room.rng.choice(len(room.frames), 2, replace=False))
        first = room.frames[a]
        K = room.frames[a].color.intrinsics
        p = (
            room.frames[b].camera_to_world[:3, 3] - first.camera_to_world[:3, 3]
        ) @ first.camera_to_world[:3, :3]
        if p[2] < 0.1:
            continue
        x = (K[0, 0] * p[0] / p[2] + K[0, 2] + 0.5) / first.color.width * 1000
        y = (K[1, 1] * p[1] / p[2] + K[1, 2] + 0.5) / first.color.height * 1000
        if 0 <= x <= 1000 and 0 <= y <= 1000:
            break
    else:
        return None
    gold = camera_text(x, y, p[2])
    question = (
        "Where is the observer of image 2 in the coordinate system of image 1? Provide image-plane"
        " coordinates and depth in meters."
    )
    if form == "select":
        others = [camera_text(*room.rng.uniform(0, 1000, 2), p[2] * f) for f in (1, 1.3, 0.6)]
        tail, letter = room.letter(gold, others)
        return room.record(task, [a, b], (f"{question} {tail}", letter))
    return room.record(
        task,
        [a, b],
        (
            question,
            (
                gold
                if form == "fill"
                else f"The observer of the second image would be found at {gold}."
            ),
        ),
    )


def view_change(room: Room, task: str, form: str) -> dict | None:
    a, b = (int(v) for v in room.rng.choice(len(room.frames), 2, replace=False))
    A = room.frames[a].camera_to_world
    B = room.frames[b].camera_to_world
    move = (B[:3, 3] - A[:3, 3]) @ A[:3, :3]
    heading = lambda P: (  # noqa: E731
        math.degrees(math.atan2(P[1, 2], P[0, 2])),
        math.degrees(math.asin(P[2, 2])),
    )  # noqa: E731, RUF100
    (yaw1, pitch1), (yaw2, pitch2) = heading(A), heading(B)
    right = (yaw1 - yaw2 + 180) % 360 - 180
    up = pitch2 - pitch1
    steps = [round(v / 0.2) * 0.2 for v in move]
    turns = [5 * round(up / 5), 5 * round(right / 5)]
    if form == "fill":
        said = lambda v: "0" if abs(v) < 1e-9 else f"{abs(v):.1f}"  # noqa: E731
        answer = (
            f"move_{'right' if move[0] >= 0 else 'left'}:{said(steps[0])},move_{'down' if move[1] >= 0 else 'up'}:{said(steps[1])},"  # noqa: E501
            f"move_{'forward' if move[2] >= 0 else 'backward'}:{said(steps[2])},rotate_{'up' if up >= 0 else 'down'}:{abs(turns[0])},"  # noqa: E501
            f"rotate_{'right' if right >= 0 else 'left'}:{abs(turns[1])}"
        )
        return room.record(
            task,
            [a, b],
            (
                (
                    "How should the observer's camera angle or position change to produce the"
                    f" second image? {MOVE}"
                ),
                answer,
            ),
        )
    parts = [
        f"move {w[v < 0]} {abs(v):.1f} meters"
        for v, w in zip(steps, (("right", "left"), ("down", "up"), ("forward", "backward")))
        if abs(v) > 1e-9
    ]
    parts += [
        f"rotate {w[v < 0]} {abs(v)} degrees"
        for v, w in zip(turns, (("up", "down"), ("right", "left")))
        if v
    ]
    if not parts:
        return None
    return room.record(
        task,
        [a, b],
        (
            (
                "How should the observer's camera angle or position change to produce the second"
                " image?"
            ),
            f"make camera {' and '.join(parts)}.",
        ),
    )


def frame_locate(room: Room, task: str, form: str) -> dict | None:
    k = int(room.rng.integers(32))
    known = sorted(room.shots[room.video[k]].boxes)
    if not known:
        return None
    id = int(room.rng.choice(known))
    found = [i for i, row in enumerate(room.video) if id in room.shots[row].boxes]
    return room.record(
        task,
        room.video,
        (
            f"In which frames does the {room.label(id)} (in Frame-{k}) (red bbox) appear?",
            f"The {room.label(id)} (red bbox) appears in frames {found}.",
        ),
        True,
        red_bbox=room.shots[room.video[k]].boxes[id],
        bbox_img_idx=[k],
    )


def nearest_box(room: Room, task: str, form: str) -> dict | None:
    multi = task.endswith("_mv")
    rows = room.views() if multi else [int(room.rng.integers(len(room.frames)))]
    where = {id: k for k, row in enumerate(rows) for id in sorted(room.shots[row].boxes)}
    away = {id: float(np.linalg.norm(room.seen(id, rows[0]))) for id in where}
    far = bool(room.rng.integers(2))
    order = sorted(where, key=lambda id: -away[id] if far else away[id])
    if len(order) < 4 or abs(away[order[0]] - away[order[1]]) < 0.3:
        return None
    ordinal = ("first", "second", "third")
    text = lambda id: (  # noqa: E731
        (f"the {ordinal[where[id]]} image, " if multi else "")
        + str(list(room.shots[rows[where[id]]].boxes[id]))
    )  # noqa: E731, RUF100
    question = (
        "Which object, based on its center point, appears"
        f" {'farthest from' if far else 'closest to'} the observer? "
    )
    question += (
        "Choose an image showing the object and mark it with the bounding box. "
        if multi
        else "Mark it with the bounding box. "
    )
    question += CENTER + (f" {room.rng.choice(FIRST)}" if multi else "")
    if form == "select":
        tail, letter = room.letter(text(order[0]), [text(id) for id in order[1:]], FOUR_BOXES)
        return room.record(task, rows, (f"{question} {tail}", letter))
    return room.record(
        task,
        rows,
        (
            question,
            (
                text(order[0])
                if form == "fill"
                else (
                    f"The object {'farthest from' if far else 'closest to'} the observer is at"
                    f" {text(order[0])}."
                )
            ),
        ),
    )


def nearest_point(room: Room, task: str, form: str) -> dict | None:
    multi = task.endswith("_mv")
    rows = room.views() if multi else [int(room.rng.integers(len(room.frames)))]
    chosen = room.spread(3, rows)
    if chosen is None:
        return None
    ids, at = chosen
    green, blue = (float(np.linalg.norm(room.center[ids[0]] - room.center[id])) for id in ids[1:])
    if abs(green - blue) < 0.3:
        return None
    far = bool(room.rng.integers(2))
    names = [f"{room.label(id)} ({c} point)" for id, c in zip(ids, ("red", "green", "blue"))]
    gold = names[2] if (blue > green) == far else names[1]
    nearer = "farther to" if far else "closer to"
    question = (
        f"Between the {names[1]} and the {names[2]}, which lies {nearer} the {names[0]}? {CENTER}"
    )
    marks = {
        f"{c}_point": room.shots[rows[k]].points[id]
        for c, id, k in zip(("red", "green", "blue"), ids, at)
    }
    if form == "select":
        tail, letter = room.letter(gold, [name for name in names[1:] if name != gold], TWO)
        text = f"{question} {tail}", letter
    else:
        text = (
            question,
            (
                gold
                if form == "fill"
                else (
                    f"With distances of {green:.1f} meters ({names[1]}) and {blue:.1f} meters"
                    f" ({names[2]}), the {gold} is evidently {nearer} {room.label(ids[0])}."
                )
            ),
        )
    return room.record(task, rows, text, **marks, point_img_idx=at if multi else None)


def nearest_video(room: Room, task: str, form: str) -> dict | None:
    at = [int(v) for v in room.rng.choice(32, 5, replace=False)]
    ids = []
    for k in at:
        free = [id for id in sorted(room.shots[room.video[k]].boxes) if id not in ids]
        if not free:
            return None
        ids.append(int(room.rng.choice(free)))
    away = [float(np.linalg.norm(room.center[id] - room.center[ids[0]])) for id in ids[1:]]
    far = bool(room.rng.integers(2))
    order = np.argsort(away)[:: -1 if far else 1]
    if abs(away[order[0]] - away[order[1]]) < 0.3:
        return None
    names = [
        f"{room.label(id)} (in Frame-{k}, point{i})"
        for i, (id, k) in enumerate(zip(ids[1:], at[1:]))
    ]
    reach = "farthest" if far else "closest"
    gold = int(order[0])
    question = (
        f"Which item in {', '.join(names)}, has the {reach} distance to {room.label(ids[0])} (in"
        f" Frame-{at[0]}, objectA)? {CENTER}"
    )
    points = [list(room.shots[room.video[k]].points[id]) for id, k in zip(ids, at)]
    if form == "select":
        tail, letter = room.letter(names[gold], [n for n in names if n != names[gold]])
        text = f"{question} {tail}", letter
    else:
        text = (
            question,
            (
                names[gold]
                if form == "fill"
                else (
                    f"The object {reach} to {room.label(ids[0])} is {room.label(ids[1 + gold])}"
                    f" (Object{gold}), which is {away[gold]:.1f} meters away."
                )
            ),
        )
    return room.record(task, room.video, text, True, point_list=points, point_img_idx=at)


def sentence_pair(a: str, b: str, words: list[str]) -> str:
    """SPAR's sentence with the artifacts of its empty slots."""
    side, height, reach, *facing = words
    text = (
        f"From the perspective provided, the {a} is {'to the ' + side if side else ''}"
        f" {'and ' + height if height else ''} the {b}."
    )
    text += f" This places it {reach} as well." if reach else ""
    if len(facing) == 2 and all(facing):
        front = {"front": "in front of", "behind": "behind"}
        text += (
            f" The the {a} and the {b} are {front[facing[0]]} the observer."
            if facing[0] == facing[1]
            else (
                f" The the {a} is {front[facing[0]]} the observer. The the {b} is"
                f" {front[facing[1]]} the observer."
            )
        )
    return text


def relation_pair(room: Room, task: str, form: str) -> dict | None:
    multi = task.endswith("_mv")
    rows = room.views() if multi else [int(room.rng.integers(len(room.frames)))]
    chosen = room.spread(2, rows[1:] if multi else rows)
    if chosen is None:
        return None
    ids, at = chosen
    at = [k + 1 for k in at] if multi else at
    p, q = (room.seen(id, rows[0]) for id in ids)
    words = room.between(p, q)
    if multi:
        words += [room.to_observer(v)[2] for v in (p, q)]
        if not all(words[3:]):
            return None
    a = f"{room.label(ids[0])} (red bbox)"
    b = f"{room.label(ids[1])} (blue bbox)"
    marks = {
        "red_bbox": room.shots[rows[at[0]]].boxes[ids[0]],
        "blue_bbox": room.shots[rows[at[1]]].boxes[ids[1]],
        "bbox_img_idx": at if multi else None,
    }
    if form == "judge":
        said = [w for w in words[:3] if w in ("left", "right", "above", "below")]
        if not said:
            return None
        flip = {"left": "right", "right": "left", "above": "below", "below": "above"}
        true = bool(room.rng.integers(2))
        word = said[0] if true else flip[said[0]]
        claim = {"left": "to the left of", "right": "to the right of"}.get(word, word)
        return room.record(
            task,
            rows,
            (
                f"From the observer's perspective, is {a} {claim} {b}? Only answer Yes/No.",
                "Yes" if true else "No",
            ),
            **marks,
        )
    if multi:
        question = (
            f"Describe the position of the {a} concerning the {b} in the two images, from the"
            f" observer's viewpoint. {CENTER} {room.rng.choice(FIRST)}"
        )
    else:
        question = (
            f"What is the spatial orientation of the {a} compared to the {b} in the image, relative"
            f" to the observer's view? {CENTER}"
        )
    text = room.triple(
        form, question, words, legend=OO_MV if multi else OO, sentence=sentence_pair(a, b, words)
    )
    return text and room.record(task, rows, text, **marks)


def relation_observer(room: Room, task: str, form: str) -> dict | None:
    rows = room.views()
    chosen = room.spread(1, rows)
    if chosen is None:
        return None
    (id,), (at,) = chosen
    words = room.to_observer(room.seen(id, rows[0]))
    name = f"{room.label(id)} (bbox)"
    question = (
        f"From the primary viewpoint, what is the position of object {name}? {CENTER}"
        f" {room.rng.choice(FIRST)}"
    )
    said = f"Relative to the observer's position, the {name} appears to the {place(words)}" + (
        f", and also seems to the {words[2]}." if words[2] else "."
    )
    text = room.triple(form, question, words, legend=OC, sentence=said)
    return text and room.record(
        task, rows, text, red_bbox=room.shots[rows[at]].boxes[id], bbox_img_idx=[at]
    )


def imagination(room: Room, task: str, form: str) -> dict | None:
    two = "_oo" in task
    multi = task.endswith("_mv")
    video = "_video" in task
    hard = task.endswith("_hard")
    if video:
        rows = room.video
    elif multi:
        rows = room.views()
    else:
        rows = [int(room.rng.integers(len(room.frames)))]
    if video:
        at = [int(v) for v in room.rng.choice(32, 3 + two, replace=False)]
        ids = []
        for k in at:
            free = [id for id in sorted(room.shots[rows[k]].boxes) if id not in ids]
            if not free:
                return None
            ids.append(int(room.rng.choice(free)))
    else:
        chosen = room.spread(3 + two, rows)
        if chosen is None:
            return None
        ids, at = chosen
    green, blue, red, *more = ids
    if np.linalg.norm((room.center[green] - room.center[blue])[:2]) < 0.5:
        return None
    p = room.moved(red, green, blue)
    colors = ("green", "blue", "red", "yellow")
    names = [f"{room.label(id)} ({c} bbox)" for id, c in zip(ids, colors)]
    if hard:
        names = [f"{room.label(id)} (Object{k})" for k, id in enumerate(ids)]
    elif video:
        names = [
            f"{room.label(id)} (in Frame-{at[k]}, Object{k}) ({c} bbox)"
            for k, (id, c) in enumerate(zip(ids, colors))
        ]
    if two:
        q = room.moved(more[0], green, blue)
        words = room.between(p, q, p[1] - q[1])
        front = [room.to_observer(v, v[1])[2] for v in (p, q)]
        if multi or video:
            if not all(front):
                return None
            words += front
        before = room.between(room.seen(red, rows[0]), room.seen(more[0], rows[0]))
        question = (
            f"How does the spatial perception of {names[2]} and {names[3]} shift when the observer"
            f" moves to {names[0]} and focuses on {names[1]}? {CENTER}"
        )
        said = (
            f"Before moving, {names[2]} is seen {place(before)} {before[2]} compared with"
            f" {names[3]}. After moving, {names[2]} shows up {place(words)} relative to {names[3]}."
            + (f" It might seem {words[2]}." if words[2] else "")
        )
        if len(words) == 5:
            where = {"front": "in front of", "behind": "behind"}
            said += (
                f" The {names[2]} is {where[words[3]]} the new observer. The {names[3]} is"
                f" {where[words[4]]} the new observer."
            )
    else:
        words = room.to_observer(p, p[1])
        before = room.to_observer(room.seen(red, rows[0]))
        question = (
            f"Where is {names[2]} in relation to the observer before they move to the 3D center of"
            f" {names[0]} and face {names[1]}? After the movement, where is {room.label(red)}"
            f" positioned? {CENTER}"
        )
        said = (
            f"Initially, {names[2]} is perceived as to the {place(before)} by the observer. It"
            f" might also seem to the {before[2] or 'front'}. After moving to {names[0]} and"
            f" orienting toward {names[1]}, {names[2]} is described as to the {place(words)}."
            + (f" It appears to the {words[2]}." if words[2] else "")
        )
    question += f" {BEFORE}" if multi else ""
    question += f" {WORLD_UP}" if not (multi and not two) else ""
    text = room.triple(
        form,
        question,
        words,
        legend=(OO_MV if len(words) == 5 else OO) if two else OC,
        sentence=said,
        note=AFTER,
    )
    if text is None:
        return None
    if hard:
        marks = {}
    else:
        marks = {f"{c}_bbox": room.shots[rows[k]].boxes[id] for c, id, k in zip(colors, ids, at)}
    return room.record(
        task, rows, text, video, **marks, bbox_img_idx=at if (multi or video) and not hard else None
    )


def bird_map(room: Room, task: str, form: str) -> dict | None:
    rows = room.views()
    chosen = room.spread(int(room.rng.integers(3, 6)), rows)
    if chosen is None:
        return None
    ids, at = chosen
    pose = room.frames[rows[0]].camera_to_world
    right = pose[:2, 0] / np.linalg.norm(pose[:2, 0])
    ahead = pose[:2, 2] / np.linalg.norm(pose[:2, 2])
    spots = [
        ((room.center[id] - pose[:3, 3])[:2] @ right, (room.center[id] - pose[:3, 3])[:2] @ ahead)
        for id in ids
    ]
    names = ", ".join(f"{room.label(id)} (object{k})" for k, id in enumerate(ids))
    question = (
        f"Build a bird's-eye view map of {names} with the first image as the main viewpoint."
        f" {CENTER}"
    )
    return room.record(
        task,
        rows,
        (question, " ".join(f"Object{k} :({x:.1f},{y:.1f})." for k, (x, y) in enumerate(spots))),
        bbox_list=[list(room.shots[rows[k]].boxes[id]) for id, k in zip(ids, at)],
        bbox_img_idx=at,
    )


def order(room: Room, task: str, form: str) -> dict | None:
    first: dict[str, int] = {}
    for k, row in enumerate(room.video):
        for id in sorted(room.shots[row].boxes):
            first.setdefault(room.label(id), k)
    names = sorted(first, key=first.get)
    chosen = [names[k] for k in sorted(room.rng.choice(len(names), 4, replace=False))]
    if len({first[n] for n in chosen}) < 4:
        return None
    asked = [chosen[k] for k in room.rng.permutation(4)]
    question = (
        f"In what order do the following objects first appear in the video: {', '.join(asked)}?"
    )
    return room.record(
        task,
        room.video,
        (
            question,
            (
                ", ".join(chosen)
                if form == "fill"
                else "The order is "
                + ", ".join(f"{n} (spotted at {first[n]})" for n in chosen)
                + "."
            ),
        ),
        True,
    )


def count(room: Room, task: str, form: str) -> dict | None:
    labels = [i.label for i in room.things.values()]
    name = str(room.rng.choice(sorted(set(labels))))
    n = labels.count(name)
    question = f"How many {name} are there in the room shown in the video?"
    return room.record(
        task,
        room.video,
        (
            (f"{question} {room.rng.choice(FILL)}", str(n))
            if form == "fill"
            else (question, f"Looking at the footage, we discover {n} {name} occupying that room.")
        ),
        True,
    )


def size(room: Room, task: str, form: str) -> dict | None:
    x, y = np.ptp(np.concatenate(room.scene.floor), 0)
    area = round(x * y)
    question = "What is the area of the room shown in the video, in square meters?"
    if form == "select":
        tail, letter = room.letter(str(area), [str(round(area * f)) for f in (0.6, 1.5, 2.1)])
        return room.record(task, room.video, (f"{question} {tail}", letter), True)
    return room.record(
        task,
        room.video,
        (
            (f"{question} {room.rng.choice(FILL)}", str(area))
            if form == "fill"
            else (question, f"The room covers about {area} square meters.")
        ),
        True,
    )


MAKERS: dict[str, tuple[Callable[[Room, str, str], dict | None], str]] = {
    **dict.fromkeys(
        (
            "depth_prediction_oc",
            "depth_prediction_oc_mv",
            "depth_prediction_oo",
            "depth_prediction_oo_mv",
        ),
        (depth, "fst"),
    ),
    **dict.fromkeys(
        ("distance_prediction_oc", "distance_prediction_oc_mv"), (distance_observer, "fst")
    ),
    **dict.fromkeys(
        ("distance_prediction_oo", "distance_prediction_oo_mv", "distance_prediction_oo_video"),
        (distance_pair, "fst"),
    ),
    "spatial_volume_infer": (volume, "ft"),
    "position_matching": (matching, "fst"),
    "camera_motion_infer": (camera_motion, "fst"),
    "view_change_infer": (view_change, "ft"),
    "obj_frame_locate": (frame_locate, "t"),
    **dict.fromkeys(
        ("distance_infer_center_oc", "distance_infer_center_oc_mv"), (nearest_box, "fst")
    ),
    **dict.fromkeys(
        ("distance_infer_center_oo", "distance_infer_center_oo_mv"), (nearest_point, "fst")
    ),
    "distance_infer_center_oo_video": (nearest_video, "fst"),
    "obj_spatial_relation_oo": (relation_pair, "stj"),
    "obj_spatial_relation_oo_mv": (relation_pair, "stj"),
    "obj_spatial_relation_oc_mv": (relation_observer, "st"),
    **dict.fromkeys(
        (
            "spatial_imagination_oc",
            "spatial_imagination_oo",
            "spatial_imagination_oc_mv",
            "spatial_imagination_oo_mv",
        ),
        (imagination, "st"),
    ),
    **dict.fromkeys(
        (
            "spatial_imagination_oc_video",
            "spatial_imagination_oo_video",
            "spatial_imagination_oc_video_hard",
            "spatial_imagination_oo_video_hard",
        ),
        (imagination, "t"),
    ),
    "spatial_imagination_map_mv": (bird_map, "t"),
    "appearance_order": (order, "ft"),
    "obj_count": (count, "ft"),
    "room_size": (size, "fst"),
}


# ----------------------------------------------------------------------------------------------------------------------  # noqa: E501
# files
def matrix(values: np.ndarray, side: int = 4) -> str:
    full = np.eye(side)
    full[: min(side, len(values)), : min(side, len(values))] = values[:side, :side]
    return "\n".join(" ".join(f"{v:.9f}" for v in row) for row in full) + "\n"


def write_frames(
    folder: Path, room: Room, names: Sequence[str], *, per_frame: bool, side: int, video: bool
) -> None:
    """The scene's images, poses and intrinsics; `names` are the stems of its frames."""
    for sub in (
        "image_color",
        "image_depth",
        "pose",
        "intrinsic",
        *(("video_color", "video_depth", "video_pose") if video else ()),
    ):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    places = [("image_color", "image_depth", "pose", name, k) for k, name in enumerate(names)]
    if video:
        places += [
            ("video_color", "video_depth", "video_pose", f"frame{i}_{names[row]}", row)
            for i, row in enumerate(room.video)
        ]
        (folder / "video_idx.txt").write_text("".join(f"{names[row]}\n" for row in room.video))
    for color, far, pose, name, row in places:
        frame = room.frames[row]
        # the same files under the video's names
        if color == "video_color":
            for kind, suffix in (("color", ".jpg"), ("depth", ".png")):
                shutil.copy(
                    folder / f"image_{kind}" / f"{names[row]}{suffix}",
                    folder / f"video_{kind}" / f"{name}{suffix}",
                )
            shutil.copy(
                folder / "pose" / f"{names[row]}.txt", folder / "video_pose" / f"{name}.txt"
            )
            continue
        Image.fromarray(frame.read_color()).save(folder / color / f"{name}.jpg", quality=90)
        Image.fromarray(np.rint(frame.read_depth() * 1000).astype(np.uint16)).save(
            folder / far / f"{name}.png"
        )
        (folder / pose / f"{name}.txt").write_text(matrix(frame.camera_to_world))
        if per_frame:
            (folder / "intrinsic" / f"{name}.txt").write_text(matrix(frame.color.intrinsics, side))
    if not per_frame:
        (folder / "intrinsic/intrinsic_color.txt").write_text(
            matrix(room.frames[0].color.intrinsics, side)
        )
        (folder / "intrinsic/intrinsic_depth.txt").write_text(
            matrix(room.frames[0].depth.intrinsics, side)
        )


def lines_of(
    record: dict, scene: str, number: int, *, names: Sequence[str], rgbd: bool, per_frame: bool
) -> dict:
    if record["video"]:
        stems = [f"frame{i}_{names[row]}" for i, row in enumerate(record["rows"])]
    else:
        stems = [names[row] for row in record["rows"]]
    kind = "video" if record["video"] else "image"
    line = {
        "id": f"{scene}_{number}",
        "conversations": [
            {"from": "human", "value": record["question"]},
            {"from": "gpt", "value": record["answer"]},
        ],
        "image": [f"{scene}/{kind}_color/{s}.jpg" for s in stems],
        "type": record["task"],
    }
    if rgbd:
        line["depth"] = [f"{scene}/{kind}_depth/{s}.png" for s in stems]
        line["pose"] = [
            f"{scene}/{'video_pose' if record['video'] else 'pose'}/{s}.txt" for s in stems
        ]
        line["intrinsic"] = [
            (
                f"{scene}/intrinsic/{s.rpartition('_')[2] if record['video'] else s}.txt"
                if per_frame
                else f"{scene}/intrinsic/intrinsic_color.txt"
            )
            for s in stems
        ]
    return line | record["marks"]


def questions(room: Room, task: str, form: str, count: int) -> Iterator[dict]:
    made = 0
    for _ in range(40 * count):
        record = MAKERS[task][0](room, task, form)
        if record is not None:
            yield record
            made += 1
        if made == count:
            return


def write_release(
    root: Path,
    scene,
    *,
    source: str = "scannet",
    split: str = "train",
    count: int = 4,
    tasks: Sequence[str] = (),
    rgbd: bool = True,
    per_frame: bool = False,
    side: int = 4,
    rooms: bool = False,
    seed: int = 0,
) -> dict[tuple[str, str], int]:
    """One scene as `root/spar/<source>/`. Returns how many records each task and format has.

    `rooms`: Structured3D's names `<room>_<position>` and no video. `rgbd`: with depth, pose and
    intrinsic fields in the records.
    """
    room = Room(scene, seed)
    names = [
        f"{906 + k // 20}_{k % 20}" if rooms else str(frame.index * room.step)
        for k, frame in enumerate(room.frames)
    ]
    if rooms:
        room.video = []
    home = root / "spar" / source
    write_frames(
        home / "images" / scene.name,
        room,
        names,
        per_frame=per_frame,
        side=side,
        video=bool(room.video),
    )
    written = {}
    number = 0
    for task in tasks or MAKERS:
        if not room.video and (
            task.endswith(("_video", "_hard"))
            or task in ("obj_frame_locate", "appearance_order", "obj_count", "room_size")
        ):
            continue
        for form in (FORMATS[f] for f in MAKERS[task][1]):
            rows = []
            for record in questions(room, task, form, count):
                rows.append(
                    lines_of(
                        record, scene.name, number, names=names, rgbd=rgbd, per_frame=per_frame
                    )
                )
                number += 1
            if rows:
                path = home / "qa_jsonl" / split / task / form / f"{form}_{len(rows)}.jsonl"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("".join(json.dumps(row) + "\n" for row in rows))
                written[task, form] = len(rows)
    return written


def write_walks(root: Path, scene, count: int = 2) -> None:
    """Rows of the RxR part: type "nav", frames of a walk, no marks, neither depth nor poses."""
    folder = root / "spar/rxr/images" / scene.name / "video_color"
    rows = []
    folder.mkdir(parents=True)
    for n in range(count):
        names = []
        for i, frame in enumerate(scene.frames[5 * n : 5 * n + 8]):
            Image.fromarray(frame.read_color()).save(folder / f"frame{i}_{frame.index}.jpg")
            names.append(f"{scene.name}/video_color/frame{i}_{frame.index}.jpg")
        rows.append(
            {
                "id": f"rxr_{n}",
                "conversations": [
                    {"from": "human", "value": "Describe the way."},
                    {"from": "gpt", "value": "Walk past the table and stop."},
                ],
                "image": names,
                "type": "nav",
            }
        )
    path = root / f"spar/rxr/qa_jsonl/train/nav_video/sentence/sentence_{count}.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
