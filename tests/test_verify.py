"""The oracle agrees with a clean data set, and catches every mutation of its ground truth, its
answers and its form."""

import ast
import json
import random
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toys import Toys, busy_room

from spar_kit.data.generate import generate
from spar_kit.oracle import verify as verify_module
from spar_kit.oracle.evidence.record import TASK_SPECS, Thresholds
from spar_kit.oracle.evidence.scene_files import (
    NOT_OBJECTS,
    MismatchError,
    NotCheckableError,
    SceneFolder,
)
from spar_kit.oracle.verify import Report, check_record, print_report, verify
from spar_kit.scenes.labels import EXCLUDED_LABELS

SCENE = "room0000_00"
Record = dict


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verify") / "clean"
    generate(Toys((SCENE,), busy_room), folder, per_task=6, progress=False)
    return folder


def records(folder: Path) -> Iterator[tuple[Path, int, Record]]:
    for path in sorted(folder.glob("spar/*/qa_jsonl/*/*/*/*.jsonl")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            yield path, number, json.loads(line)


def tasks_of(folder: Path) -> list[str]:
    return sorted({path.parts[-3] for path, _, _ in records(folder)})


def edit(folder: Path, change: Callable[[Record, str, str], object]) -> dict[str, int]:
    """Rewrite every record that `change(record, task, format)` says it changed; how many, by
    task."""
    changed: dict[str, int] = {}
    for path in sorted(folder.glob("spar/*/qa_jsonl/*/*/*/*.jsonl")):
        lines = []
        for line in path.read_text().splitlines():
            record = json.loads(line)
            if change(record, *path.parts[-3:-1]):
                changed[path.parts[-3]] = changed.get(path.parts[-3], 0) + 1
                lines.append(json.dumps(record))
        path.write_text("".join(line + "\n" for line in lines))
    manifest = json.loads((folder / "manifest.json").read_text())
    # the bytes have changed; not the point
    (folder / "manifest.json").write_text(json.dumps(manifest | {"shards": {}}))
    return changed


def copy(clean: Path, to: Path) -> Path:
    shutil.copytree(clean, to / "data")
    return to / "data"


def images(folder: Path) -> Path:
    return folder / "spar/synthetic/images" / SCENE


def edit_things(folder: Path, change: Callable[[dict], None]) -> None:
    path = images(folder) / "instances.json"
    document = json.loads(path.read_text())
    for thing in document["instances"]:
        change(thing)
    path.write_text(json.dumps(document))


def edit_poses(folder: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    for path in (images(folder) / "pose").iterdir():
        np.savetxt(path, change(np.loadtxt(path)))


def caught(report: Report, task: str) -> int:
    return report.tasks[task].mismatched


# ----------------------------------------------------------------------------------------------------------------  # noqa: E501
# clean


def test_agrees_with_a_clean_data_set(clean: Path) -> None:
    report = verify(clean)
    assert (
        report.ok and report.checked == sum(1 for _ in records(clean)) and not report.not_checkable
    )
    assert set(report.tasks) >= set(TASK_SPECS) - {"nav_video"}
    assert all(task.checked >= 3 for name, task in report.tasks.items() if name != "nav_video")


def test_workers_and_sample(clean: Path) -> None:
    one = verify(clean)
    some = verify(clean, sample=3)
    assert {k: v.checked for k, v in one.tasks.items()} == {
        k: v.checked for k, v in verify(clean, workers=2).tasks.items()
    }
    assert 0 < some.checked < one.checked and some.ok


def test_the_oracle_leaves_out_the_labels_that_tasks_leave_out():
    """A list of its own: a label that only one of them knows would make true records false."""
    assert NOT_OBJECTS == EXCLUDED_LABELS


def test_shares_no_code_with_the_generator() -> None:
    folder = Path(verify_module.__file__).parent
    allowed = {"numpy", "PIL", "orjson", "scipy", "rich"}
    modules = sorted(path for path in folder.rglob("*.py") if path.name != "__init__.py")
    assert len(modules) >= 7
    for path in modules:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:  # nbdev writes our own relative
                # processes that end with their parent know nothing of scenes or questions
                parts = path.relative_to(folder.parents[1]).parts
                origin = ".".join([*parts[: len(parts) - node.level], *filter(None, [node.module])])
                assert origin.startswith("spar_kit.oracle.") or (path.name, origin) == (
                    "verify.py",
                    "spar_kit.core.processes",
                ), f"{path.name}: {ast.unparse(node)}"
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                for name in (
                    [a.name for a in node.names]
                    if isinstance(node, ast.Import)
                    else [node.module or ""]
                ):
                    # nbdev leaves an import over several lines as it is written in the notebook
                    if name.startswith("spar_kit.oracle."):
                        continue
                    top = name.partition(".")[0]
                    assert (
                        top in allowed
                        or top in sys.stdlib_module_names
                        or (path.name, top) == ("rays.py", "open3d")
                    ), f"{path.name}: {name}"
                    # the entry points of tasks from outside the kit
                    assert top != "importlib" or name == "importlib.metadata"
            assert not (isinstance(node, ast.Name) and node.id in ("__import__", "exec", "eval"))


# -------------------------------------------------------------------------------------------
# mutations of the ground truth


def shift_boxes(folder: Path) -> None:
    generator = np.random.default_rng(0)

    def change(thing: dict) -> None:
        step = generator.normal(size=3)
        thing["center"] = (np.array(thing["center"]) + 1.2 * step / np.linalg.norm(step)).tolist()

    edit_things(folder, change)


def negate_axis(folder: Path) -> None:
    edit_poses(folder, lambda pose: pose @ np.diag([1, -1, 1, 1.0]))


def negate_two_axes(folder: Path) -> None:
    edit_poses(folder, lambda pose: pose @ np.diag([-1, -1, 1, 1.0]))


def negate_a_shift(folder: Path) -> None:
    def change(pose: np.ndarray) -> np.ndarray:
        pose[0, 3] *= -1
        return pose

    edit_poses(folder, change)


def camera_for_world(folder: Path) -> None:
    edit_poses(folder, np.linalg.inv)


def swap_world_axes(folder: Path) -> None:
    edit_things(
        folder,
        lambda thing: thing.update(
            {key: [thing[key][k] for k in (0, 2, 1)] for key in ("center", "size")}
        ),
    )


def boxes_in_centimetres(folder: Path) -> None:
    edit_things(
        folder,
        lambda thing: thing.update(
            {key: [100 * v for v in thing[key]] for key in ("center", "size")}
        ),
    )


def sizes_in_centimetres(folder: Path) -> None:
    edit_things(folder, lambda thing: thing.update(size=[100 * v for v in thing["size"]]))


def depth_times_ten(folder: Path) -> None:
    for path in (images(folder) / "image_depth").iterdir():
        Image.fromarray(
            (np.asarray(Image.open(path)).astype(np.int64) * 10).clip(0, 65535).astype(np.uint16)
        ).save(path)


def poses_in_millimetres(folder: Path) -> None:
    def change(pose: np.ndarray) -> np.ndarray:
        pose[:3, 3] *= 1000
        return pose

    edit_poses(folder, change)


def reverse_poses(folder: Path) -> None:
    paths = sorted((images(folder) / "pose").iterdir(), key=lambda path: int(path.stem))
    texts = [path.read_text() for path in paths]
    half = len(paths) // 2
    for path, text in zip(paths, texts[half:] + texts[:half]):
        path.write_text(text)


def permute_ids(folder: Path) -> None:
    """Every object's box becomes its neighbour's in the list."""
    path = images(folder) / "instances.json"
    document = json.loads(path.read_text())
    ids = [thing["id"] for thing in document["instances"]]
    for thing, id in zip(document["instances"], ids[1:] + ids[:1]):
        thing["id"] = id
    path.write_text(json.dumps(document))


GROUND_TRUTH = [
    shift_boxes,
    negate_axis,
    negate_two_axes,
    negate_a_shift,
    camera_for_world,
    swap_world_axes,
    boxes_in_centimetres,
    depth_times_ten,
    poses_in_millimetres,
    reverse_poses,
    permute_ids,
]


@pytest.mark.parametrize("mutation", GROUND_TRUTH, ids=lambda f: f.__name__)
def test_catches_a_mutated_ground_truth_in_every_record(
    clean: Path, tmp_path: Path, mutation: Callable[[Path], None]
) -> None:
    folder = copy(clean, tmp_path)
    mutation(folder)
    report = verify(folder)
    missed = {
        name: task.checked - task.mismatched
        for name, task in report.tasks.items()
        if task.mismatched < task.checked
    }
    assert set(report.tasks) == set(tasks_of(clean)) and missed == {} and not report.not_checkable


def test_catches_sizes_in_another_unit(clean: Path, tmp_path: Path) -> None:
    folder = copy(clean, tmp_path)
    sizes_in_centimetres(folder)
    report = verify(folder)
    for path, _, record in records(folder):
        if record["facts"]["objects"]:
            assert caught(report, path.parts[-3]) == report.tasks[path.parts[-3]].checked


def test_catches_one_shifted_box_where_it_matters_and_only_there(
    clean: Path, tmp_path: Path
) -> None:
    folder = copy(clean, tmp_path)
    ids = [id for _, _, r in records(folder) for id in r["facts"]["objects"] if id > 0]
    moved = max(set(ids), key=ids.count)
    edit_things(
        folder,
        lambda thing: (
            thing["id"] == moved and thing["center"].__setitem__(1, thing["center"][1] - 0.4)
        ),
    )
    report = verify(folder, limit=10**6)
    found = {(m.file, m.line) for task in report.tasks.values() for m in task.mismatches}
    named = {
        (path.relative_to(folder).as_posix(), n)
        for path, n, r in records(folder)
        # need no box
        if moved in r["facts"]["objects"]
        and path.parts[-3] not in ("obj_count", "appearance_order", "obj_frame_locate")
    }
    assert named and found >= named
    assert {
        key
        for key in found - named
        if not Path(key[0]).parts[-3].startswith("distance_infer_center_oc")
    } == set()


def test_catches_two_swapped_frames(clean: Path, tmp_path: Path) -> None:
    folder = copy(clean, tmp_path)
    one = images(folder) / "pose/5.txt"
    two = images(folder) / "pose/30.txt"
    first = one.read_text()
    second = two.read_text()
    one.write_text(second)
    two.write_text(first)
    report = verify(folder, limit=10**6)
    found = {(m.file, m.line) for task in report.tasks.values() for m in task.mismatches}
    touched = {
        (path.relative_to(folder).as_posix(), n)
        for path, n, r in records(folder)
        if {5, 30} & set(r["facts"]["frames"])
    }
    assert touched and found == touched


# ---------------------------------------------------------------------------------------------------  # noqa: E501
# mutations of the answers

PAIRS = (
    ("left", "right"),
    ("above", "below"),
    ("closer", "farther"),
    ("front", "behind"),
    ("up", "down"),
    ("forward", "backward"),
)
OPPOSITE = {a: b for pair in PAIRS for a, b in (pair, pair[::-1])}


def other_letter(record: Record, task: str, format: str) -> bool:
    turn = record["conversations"][1]
    if format != "select":
        return False
    letters = re.findall(r"^([A-Z])\. ", record["conversations"][0]["value"], re.M)
    turn["value"] = letters[(letters.index(turn["value"]) + 1) % len(letters)]
    return True


def other_digit(record: Record, task: str, format: str) -> bool:
    """The last digit of the answer's first number becomes another one, as far off as it can be."""
    turn = record["conversations"][1]
    if format == "select" or task in ("obj_frame_locate",):
        return False
    names = sorted({t["label"] for t in THINGS}, key=len, reverse=True)
    text = re.sub("|".join(map(re.escape, names)), lambda m: "#" * len(m[0]), turn["value"])
    text = re.sub(r"(?i)(?:frame-|object|point)\s?\d+", lambda m: "#" * len(m[0]), text)
    found = re.search(r"\d+(?:\.\d+)?(?!\d*[)\]]?\))", text)
    if not found:
        return False
    at = found.end() - 1
    turn["value"] = (
        turn["value"][:at] + str((int(turn["value"][at]) + 5) % 10) + turn["value"][at + 1 :]
    )
    return True


def other_word(record: Record, task: str, format: str) -> bool:
    """The first relation or direction word of the answer becomes its opposite."""
    turn = record["conversations"][1]
    apart = turn["value"].replace("_", " _ ")
    changed = re.sub(
        r"\b(" + "|".join(OPPOSITE) + r")\b", lambda m: OPPOSITE[m[0]], apart, count=1
    ).replace(" _ ", "_")
    if changed == turn["value"] or format == "select":
        return False
    # a zero keeps its side, and that is checked too
    turn["value"] = changed
    return True


def other_colour(record: Record, task: str, format: str) -> bool:
    """The answer names the other object."""
    turn = record["conversations"][1]
    if (
        not task.startswith("distance_infer_center_oo")
        or format == "select"
        or task.endswith("video")
    ):
        return False
    question = record["conversations"][0]["value"]
    ids = record["facts"]["objects"]
    labels = {t["id"]: t["label"] for t in THINGS}
    green = f"{labels[ids[1]]} (green point)"
    blue = f"{labels[ids[2]]} (blue point)"
    assert green in question and blue in question
    turn["value"] = turn["value"].replace(green, "#").replace(blue, green).replace("#", blue)
    return True


def yes_for_no(record: Record, task: str, format: str) -> bool:
    turn = record["conversations"][1]
    turn["value"] = {"Yes": "No", "No": "Yes"}.get(turn["value"], turn["value"])
    return format == "judge"


def gold_twice(record: Record, task: str, format: str) -> bool:
    """A second option becomes the right one."""
    question = record["conversations"][0]
    letter = record["conversations"][1]["value"]
    if format != "select":
        return False
    gold = re.search(rf"^{letter}\. (.*)$", question["value"], re.M)[1]
    other = "B" if letter == "A" else "A"
    question["value"] = re.sub(
        rf"^{other}\. .*$", lambda m: f"{other}. {gold}", question["value"], flags=re.M
    )
    return True


def other_given(record: Record, task: str, format: str) -> bool:
    """The depth that the question gives changes."""
    question = record["conversations"][0]
    if not task.startswith("depth_prediction"):
        return False
    question["value"] = re.sub(
        r"(\d+\.\d)", lambda m: f"{float(m[1]) + 0.3:.1f}", question["value"], count=1
    )
    return True


def other_unit(record: Record, task: str, format: str) -> bool:
    question = record["conversations"][0]
    before = question["value"]
    small = "centimeter" in before
    question["value"] = (
        before.replace("centimeters", "meters")
        if small
        else re.sub(r"\bmeters\b", "centimeters", before)
    )
    return question["value"] != before and (task != "spatial_volume_infer" or format == "fill")


def other_name(record: Record, task: str, format: str) -> bool:
    """The question calls the first marked object something else."""
    question = record["conversations"][0]
    if not TASK_SPECS[task].marks or TASK_SPECS[task].marks[0].endswith("_list"):
        return False
    label = {t["id"]: t["label"] for t in THINGS}[record["facts"]["objects"][0]]
    colour = TASK_SPECS[task].marks[0].partition("_")[0]
    before = question["value"]
    question["value"] = re.sub(rf"{label}((?: \(in Frame[^)]*\))? \({colour})", r"piano\1", before)
    assert question["value"] != before or NAMELESS.search(before)
    return question["value"] != before


def other_colours(record: Record, task: str, format: str) -> bool:
    """The question exchanges the colors of two objects."""
    question = record["conversations"][0]
    marks = [m for m in TASK_SPECS[task].marks if not m.endswith("_list")]
    ids = record["facts"]["objects"]
    labels = {t["id"]: t["label"] for t in THINGS}
    if len(marks) < 2 or labels[ids[0]] == labels[ids[1]] or NAMELESS.search(question["value"]):
        # without names the colors are the objects
        return False
    a, b = (m.partition("_")[0] for m in marks[:2])
    question["value"] = (
        question["value"]
        .replace(f"({a} ", "(#")
        .replace(f"({b} ", f"({a} ")
        .replace("(#", f"({b} ")
    )
    return True


def moved_marker(record: Record, task: str, format: str) -> bool:
    marks = TASK_SPECS[task].marks
    if not marks or marks[0].endswith("_list"):
        return False
    mark = record[marks[-1]][0]
    mark[0] = mark[0] - 60 if mark[0] >= 60 else mark[0] + 60
    return True


def lost_marker(record: Record, task: str, format: str) -> bool:
    marks = TASK_SPECS[task].marks
    return bool(marks) and record.pop(marks[0]) is not None


def other_object(record: Record, task: str, format: str) -> bool:
    """`facts` speaks of another object than text and markers."""
    objects = record["facts"]["objects"]
    if not objects:
        return False
    label = {t["id"]: t["label"] for t in THINGS}[objects[0]]
    objects[0] = next(
        t["id"]
        for t in THINGS
        if t["id"] not in objects and t["label"] not in ("floor", "wall", label)
    )
    return True


def other_type(record: Record, task: str, format: str) -> bool:
    record["type"] = (
        "depth_prediction_oo" if task != "depth_prediction_oo" else "depth_prediction_oc"
    )
    return True


def lost_image(record: Record, task: str, format: str) -> bool:
    record["image"] = record["image"][:-1]
    return True


def other_frame(record: Record, task: str, format: str) -> bool:
    """One image is exchanged for another frame's, its pose is not."""
    frame = next(
        k
        for k in range(40)
        if k not in record["facts"]["frames"] and (images_of / f"image_color/{k}.jpg").exists()
    )
    record["image"][0] = f"{SCENE}/image_color/{frame}.jpg"
    return True


def swapped_images(record: Record, task: str, format: str) -> bool:
    """The two images change places, consistently in all lists; the answer stays."""
    if TASK_SPECS[task].images != 2:
        return False
    for key in ("image", "depth", "pose"):
        record[key].reverse()
    record["facts"]["frames"].reverse()
    return True


def climbing_path(record: Record, task: str, format: str) -> bool:
    record["pose"][0] = "../../../../../etc/hostname"
    return True


ANSWERS = [
    other_letter,
    other_digit,
    other_word,
    other_colour,
    yes_for_no,
    gold_twice,
    other_given,
    other_unit,
    other_name,
    other_colours,
    moved_marker,
    lost_marker,
    other_object,
    other_type,
    lost_image,
    other_frame,
    swapped_images,
    climbing_path,
]
NAMELESS = re.compile(r"\bobject (?:\(in Frame[^)]*\) )?\((?:red|blue|green|yellow) ")
THINGS: list[dict] = []
images_of = Path()


@pytest.mark.parametrize("mutation", ANSWERS, ids=lambda f: f.__name__)
def test_catches_every_altered_record(
    clean: Path, tmp_path: Path, mutation: Callable[[Record, str, str], bool]
) -> None:
    global images_of
    images_of = images(clean)
    THINGS[:] = json.loads((images_of / "instances.json").read_text())["instances"]
    folder = copy(clean, tmp_path)
    changed = edit(folder, mutation)
    report = verify(folder, limit=10**6)
    missed = {
        task: n - caught(report, task) for task, n in changed.items() if caught(report, task) != n
    }
    if missed:
        found = {(m.file, m.line) for task in report.tasks.values() for m in task.mismatches}
        for path, n, r in records(folder):
            if (path.relative_to(folder).as_posix(), n) not in found:
                print(path.parts[-3:-1], r["conversations"], r["facts"])
    assert changed and missed == {} and report.mismatched == sum(changed.values())


# -------------------------------------------------------------------------------------------------------------  # noqa: E501
# broken folders


def test_refuses_what_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no manifest\.json"):
        verify(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match=r"manifest\.json.*cannot be read"):
        verify(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    # nothing to check is no success
    assert not verify(tmp_path).ok


def test_a_changed_or_lost_shard_is_a_problem(clean: Path, tmp_path: Path) -> None:
    folder = copy(clean, tmp_path)
    paths = sorted(folder.glob("spar/*/qa_jsonl/*/*/*/*.jsonl"))
    paths[0].write_bytes(paths[0].read_bytes()[:-1] + b" \n")
    paths[1].unlink()
    report = verify(folder)
    assert (
        not report.ok
        and len(report.problems) == 2
        and "sha256" in report.problems[0]
        and "missing" in report.problems[1]
    )


def test_broken_lines_are_counted(clean: Path, tmp_path: Path) -> None:
    folder = copy(clean, tmp_path)
    path = next(iter(sorted(folder.glob("spar/*/qa_jsonl/*/depth_prediction_oc/fill/*.jsonl"))))
    lines = path.read_text().splitlines()
    lines[0], lines[1], lines[2], lines[3] = (
        lines[0][:40],
        "[]",
        '{"image": ["x"]}',
        lines[3].replace('"facts"', '"fact"'),
    )
    path.write_text("\n".join(lines) + "\n")
    report = verify(folder).tasks["depth_prediction_oc"]
    assert [m.line for m in report.mismatches] == [
        1,
        2,
        3,
        4,
    ] and report.checked + report.not_checkable.total() == sum(
        1 for p, _, _ in records(clean) if p.parts[-3] == "depth_prediction_oc"
    )


@pytest.mark.parametrize(
    "name",
    [
        "instances.json",
        "pose/5.txt",
        "image_instance/5.png",
        "image_depth/5.png",
        "image_color/5.jpg",
        "intrinsic/intrinsic_depth.txt",
    ],
)
@pytest.mark.parametrize("how", ["lost", "broken"])
def test_missing_evidence_is_not_checkable(
    clean: Path, tmp_path: Path, name: str, how: str
) -> None:
    folder = copy(clean, tmp_path)
    path = images(folder) / name
    if how == "lost":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:20])
    report = verify(folder)
    every = report.checked + report.not_checkable
    touched = (
        sum(5 in r["facts"]["frames"] for _, _, r in records(clean)) if path.stem == "5" else every
    )
    if how == "broken" and name.startswith("image_"):
        # a picture that is there and cannot be decoded is a damaged data set, not a part of one; a
        # depth or instance image is looked at only where it is needed
        assert (
            report.mismatched
            and not report.ok
            and report.mismatched + report.not_checkable <= touched
        )
        assert name != "image_color/5.jpg" or report.mismatched == touched
    else:
        assert not report.mismatched and report.not_checkable == touched


# ------------------------------------------------------------------------------------------ the
# oracle's own faults are its own


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("division by zero"),
        KeyError("red"),
        IndexError("list index out of range"),
        ValueError("Points cannot contain NaN"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_of_the_oracle_is_no_mismatch(
    clean: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, error: Exception
) -> None:
    task = "depth_prediction_oc"

    def fails(item: object) -> None:
        raise error

    monkeypatch.setitem(verify_module.DERIVE, task, fails)
    report = verify(clean, limit=2)
    whole = sum(path.parts[-3] == task for path, _, _ in records(clean))
    mine = report.tasks[task]
    assert whole and (mine.failed, mine.checked, mine.mismatched) == (whole, 0, 0), mine
    assert report.failed == whole and not report.mismatched and not report.ok, str(report)
    assert (
        len(mine.failures) == 2
        and mine.failures[0].id
        and type(error).__name__ in mine.failures[0].reason
    ), mine.failures
    assert mine.failures[0].file.endswith(".jsonl") and mine.failures[0].line == 1
    assert f"{whole:,} on which the oracle failed" in str(report)
    print_report(report)
    shown = capsys.readouterr().out
    assert (
        f"oracle failed {mine.failures[0]}" in shown
        and "a bug of spar_kit, not of the data" in shown
        and "mismatch " not in shown
    ), shown


def test_the_command_leaves_with_1_where_the_oracle_failed(
    clean: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from spar_kit.cli.main import main

    monkeypatch.setattr(verify_module, "check_answer", lambda *_: 1 / 0)
    with pytest.raises(SystemExit) as left:
        main(["verify", str(clean), "--sample", "1"])
    shown = capsys.readouterr()
    assert (
        left.value.code == 1
        and "oracle failed" in shown.out
        and "ZeroDivisionError" in shown.out
        and "Traceback" not in shown.err
    ), shown


ODD = [
    None,
    True,
    0,
    -1,
    7,
    1.5,
    1e300,
    -(2**60),
    "",
    "x",
    "\u00b2",
    "9" * 40,
    [],
    [[]],
    [[[]]],
    {},
    {"a": 1},
    [1],
    [None],
    ["a"],
    [[1, 2]],
    [[1, 2, 3, 4]],
    [[0.5, "a"]],
    [[None, None]],
    [[{}]],
]
WORDS = [
    "\u00b2",
    "9" * 400,
    "1e99",
    "[",
    "(",
    "object9",
    "Frame-99",
    "-",
    "\n",
    "\u0661\u0662",
    "A.",
    " 0 ",
]


def places_in(value: object, at: tuple = ()) -> Iterator[tuple]:
    yield at
    for key, inner in (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    ):
        yield from places_in(inner, (*at, key))


def damage(record: Record, rng: random.Random) -> Record:
    """The record with one value, at any depth, that is lost, doubled, replaced, or a text with
    something odd in it."""
    record = json.loads(json.dumps(record))
    deep = rng.choice([1, 2, 2, 3, 4])
    *before, last = rng.choice([place for place in places_in(record) if 0 < len(place) <= deep])
    holder = record
    for key in before:
        holder = holder[key]
    value = holder[last]
    how = rng.random()
    if how < 0.2:
        del holder[last]
    elif isinstance(value, list) and how < 0.4:
        holder[last] = value + value[:1] if how < 0.3 else value[:-1]
    elif isinstance(value, str) and how < 0.7:
        at = rng.randrange(len(value) + 1)
        holder[last] = value[:at] + rng.choice(WORDS) + value[at + rng.randrange(4) :]
    else:
        holder[last] = rng.choice(ODD)
    return record


def test_whatever_a_record_holds_the_oracle_has_a_verdict(clean: Path) -> None:
    rng = random.Random(0)
    rules = Thresholds.of(json.loads((clean / "manifest.json").read_text())["parameters"])
    folder = SceneFolder(clean / "spar/synthetic/images", SCENE)
    whole = list(records(clean))
    verdicts = dict.fromkeys(("sound", "wrong", "unusable"), 0)
    for path, _, record in [rng.choice(whole) for _ in range(6000)]:
        broken, (task, form) = damage(record, rng), path.parts[-3:-1]
        try:
            check_record(broken, task, form, folder, rules)
            verdicts["sound"] += 1
        except MismatchError:
            verdicts["wrong"] += 1
        except NotCheckableError:
            verdicts["unusable"] += 1
    assert min(verdicts.values()) > 100, verdicts
