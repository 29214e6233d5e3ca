"""SPAR-7M as it was released: rows of every task read, drawn, trained on and checked against their
files; its frames as scenes; and every way in which a copy can be damaged."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from exporters.spar7m import write_release, write_walks
from PIL import Image
from toys import Toys, busy_room

from spar_kit.data.generate import generate
from spar_kit.data.records import load_images, read_records
from spar_kit.data.released import facts_from_text, parse_coverage, read_released
from spar_kit.oracle.verify import Report, verify
from spar_kit.scenes.box_room import box_room_scene
from spar_kit.scenes.readers.spar7m import Spar7M
from spar_kit.scenes.scene import Scene, SceneError
from spar_kit.scenes.sources import open_source
from spar_kit.tasks.markers import marks_of
from spar_kit.tasks.registry import TASKS

SCENE = "scene0000_00"
# no file says which object is which
UNCHECKED = {
    "appearance_order",
    "obj_count",
    "spatial_imagination_oc_video_hard",
    "spatial_imagination_oo_video_hard",
    "nav_video",
}


@pytest.fixture(scope="module")
def room() -> Scene:
    whole = busy_room(SCENE)
    return whole.with_frames(
        [
            replace(
                frame,
                **{
                    name: partial(held, getattr(frame, name)())
                    for name in ("read_color", "read_depth", "read_instances")
                },
            )
            for frame in whole.frames[:32]
        ]
    )


def held(image: np.ndarray) -> np.ndarray:
    return image


@pytest.fixture(scope="module")
def clean(room: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of one scene in every task and format, three rows each, and two rows of the RxR
    part."""
    root = tmp_path_factory.mktemp("spar7m")
    write_release(root, room, count=3)
    write_walks(root, room)
    return root


@pytest.fixture(scope="module")
def report(clean: Path) -> Report:
    return verify(clean)


def rows(root: Path, tasks: set[str] = frozenset(TASKS)) -> Iterator[tuple[Path, str, str, dict]]:
    for path in sorted(root.glob("spar/*/qa_jsonl/*/*/*/*.jsonl")):
        if path.parts[-3] in tasks:
            for line in path.read_text().splitlines():
                yield path, path.parts[-3], path.parts[-2], json.loads(line)


FORMS = frozenset({"fill", "select", "sentence", "judge"})


def part(
    clean: Path,
    to: Path,
    tasks: set[str],
    change: Callable[[dict, str], bool] = lambda record, form: True,
    forms: set[str] = FORMS,
) -> int:
    """Write a copy with only the rows of some tasks and formats, those that `change` has altered
    and not refused; how many there are. Images are links: replace, never overwrite."""
    shutil.copytree(
        clean / "spar/scannet/images", to / "spar/scannet/images", copy_function=os.link
    )
    n = 0
    kept = {}
    for path, _, form, record in rows(clean, tasks):
        if form in forms and change(record, form):
            kept.setdefault(to / path.relative_to(clean), []).append(record)
            n += 1
    for path, records in kept.items():
        path = path.with_name(f"{path.parts[-2]}_{len(records)}.jsonl")
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps(r) + "\n" for r in records))
    return n


def changed(
    clean: Path,
    to: Path,
    tasks: set[str],
    change: Callable[[dict, str], bool],
    forms: set[str] = FORMS,
) -> tuple[Report, int]:
    """The verdict on such a copy, and how many rows it has."""
    n = part(clean, to, tasks, change, forms)
    return verify(to, limit=1000), n


# ------------------------------------------------------------------------------------------------------------------  # noqa: E501
# read, drawn, trained on


def test_every_row_of_every_task_is_understood(clean: Path) -> None:
    seen = parse_coverage(clean)
    assert {task for task, _ in seen} == set(TASKS) and all(
        entry.read == entry.rows > 0 for entry in seen.values()
    )
    problems: list[str] = []
    found = list(read_released(clean, "train", problems=problems))
    assert not problems and len(found) == sum(entry.rows for entry in seen.values()) > 230


def test_rows_that_public_sources_quote_say_what_a_person_reads_in_them() -> None:
    """Sixty rows in SPAR's own words, each task among them; the exporter has its own wording of the
    same kinds."""
    quoted = [
        json.loads(line)
        for line in (Path(__file__).parent / "quoted_rows.jsonl").read_text().splitlines()
    ]
    assert {row["task"] for row in quoted} == set(TASKS)
    for row in quoted:
        record = {
            "id": "x",
            "type": TASKS[row["task"]].type,
            "conversations": [
                {"from": "human", "value": row["question"]},
                {"from": "gpt", "value": row["answer"]},
            ],
        }
        facts = facts_from_text(record, row["task"], row["format"])
        assert {
            name: value
            for name, value in facts.items()
            if name not in ("task", "format", "options")
        } == row["says"], row


def test_stated_facts_are_those_of_the_text(clean: Path) -> None:
    for _, task, form, record in rows(clean):
        facts = facts_from_text(record, task, form)
        answer = record["conversations"][1]["value"]
        if form == "select":
            assert facts["gold"] == ord(answer) - 65 and len(facts["options"]) == (
                2 if task in ("distance_infer_center_oo", "distance_infer_center_oo_mv") else 4
            )
        if form == "fill" and task.startswith(("depth", "distance_pred")):
            assert facts["answer"] == float(answer)
        if task == "position_matching" and form != "select":
            assert str(facts["target_box"]) in answer
        if task == "camera_motion_infer" and form != "select":
            assert (
                "Image Coor:({}, {})".format(*facts["image"]) in answer
                and f"Depth:{facts['depth']} meters" in answer
            )
        if "_oo_mv" in task and form == "select" and "relation" in facts:
            assert len(facts["relation"]) == 5 and facts["relation"][3] in (-1, 1)


def test_released_rows_are_drawn_as_spar_draws_them(clean: Path) -> None:
    drawn = Counter()
    for record, root in read_records(clean, "train"):
        # some, and few of the videos
        if record["id"][-1] not in ("0" if len(record["image"]) > 3 else "0369"):
            continue
        plain = load_images(record, root, marked=False)
        marked = load_images(record, root, released=True)
        touched = {k for k, (a, b) in enumerate(zip(plain, marked)) if a.tobytes() != b.tobytes()}
        assert touched == {mark.image for mark in marks_of(record)}, record["id"]
        drawn[record["type"]] += 1
    assert len(drawn) >= 25


def test_released_rows_are_trained_on(clean: Path) -> None:
    pytest.importorskip("torch")
    from spar_kit.train.collate import ImageLoader, messages, samples_from_records

    samples = list(samples_from_records(clean, "train"))
    assert len(samples) == len(list(rows(clean))) and {sample.task for sample in samples} == set(
        TASKS
    )
    pictures = ImageLoader(32)
    for sample in samples[::11]:
        chat = messages(sample, pictures.show(sample))
        assert (
            sum(part["type"] == "image" for part in chat[0]["content"]) == len(sample.images)
            and chat[1]["content"][0]["text"] == sample.turns[0][1]
        )


def test_released_rows_are_mixed_with_generated_ones(clean: Path, tmp_path: Path) -> None:
    """Links in one folder make one dataset of several; each format gets its weight, and objects
    come from the generated part alone."""
    pytest.importorskip("torch")
    from spar_kit.train.collate import plan_batches, samples_from_records
    from spar_kit.train.warmup.grounding import GroundingQuestions, load_visible_objects

    generate(
        Toys(make=lambda name: box_room_scene(12, width=160, name=name)),
        tmp_path / "own",
        tasks="depth_prediction_oc,obj_spatial_relation_oo",
        per_task=4,
        width=160,
        progress=False,
    )
    (tmp_path / "mix/spar").mkdir(parents=True)
    for source, name in (
        (clean / "spar/scannet", "scannet"),
        (clean / "spar/rxr", "rxr"),
        (tmp_path / "own/spar/synthetic", "own"),
    ):
        (tmp_path / "mix/spar" / name).symlink_to(source)
    samples = list(samples_from_records(tmp_path / "mix", "train"))
    parts = Counter(
        path.parts[path.parts.index("spar", path.parts.index("mix")) + 1]
        for sample in samples
        for path in sample.images[:1]
    )
    assert (
        parts["scannet"] == len(list(rows(clean))) - 2 and parts["rxr"] == 2 and parts["own"] >= 15
    )
    # as SPAR mixes
    weight = {"sentence": 1.0, "select": 0.1, "fill": 0.1, "judge": 0.1}
    shown = Counter(
        samples[k].format
        for batch in plan_batches(
            np.full(len(samples), 10),
            np.array([weight[s.format] for s in samples]),
            200,
            batch=8,
            seed=0,
        )
        for k in batch
    )
    there = Counter(sample.format for sample in samples)
    few, often = (
        (sum(count[form] for form in weight if weight[form] < 1), count["sentence"])
        for count in (shown, there)
    )
    assert 0.07 < (few[0] / often[0]) / (few[1] / often[1]) < 0.13
    images = [path for sample in samples for path in sample.images]
    pages = GroundingQuestions(load_visible_objects(images), seed=0)
    assert pages.seen and all("/own/" in str(seen.path) for seen in pages.seen)
    with pytest.raises(ValueError, match="SPAR-7M's own rows tell of none.*`model`"):
        GroundingQuestions(
            load_visible_objects(path for path in images if "/own/" not in str(path))
        )


# ------------------------------------------------------------------------------------------------------------------  # noqa: E501
# verified


def test_true_rows_are_confirmed_and_none_is_contradicted(report: Report) -> None:
    assert report.released and report.mismatched == 0 and not report.problems and report.ok
    assert report.checked > 0.6 * (report.checked + report.not_checkable)
    assert {name for name, task in report.tasks.items() if not task.checked} == UNCHECKED and set(
        report.tasks
    ) == set(TASKS)


NUMBERS = {t for t in TASKS if t.startswith(("depth_prediction", "distance_prediction"))}


def other_number(record: dict, form: str) -> bool:
    turn = record["conversations"][1]
    words = turn["value"].split()
    k = next(k for k, word in enumerate(words) if word.replace(".", "").isdigit())
    words[k] = f"{2 * float(words[k]) + 2.5:.1f}"
    turn["value"] = " ".join(words)
    return True


def other_letter(record: dict, form: str) -> bool:
    turn = record["conversations"][1]
    turn["value"] = "BADC"["ABCD".index(turn["value"])]
    return True


def backwards(record: dict, form: str) -> bool:
    for key in ("image", "depth", "pose", "intrinsic"):
        record[key] = record[key][::-1]
    return True


def mirrored(record: dict, form: str) -> bool:
    turn = record["conversations"][1]
    swap = {
        "left": "right",
        "right": "left",
        "above": "below",
        "below": "above",
        "closer": "farther",
        "farther": "closer",
        "front": "behind",
        "behind": "front",
        "Yes.": "No.",
        "Yes": "No",
        "No": "Yes",
    }
    if form == "select":
        return False
    before = turn["value"]
    turn["value"] = " ".join(
        swap.get(word.strip(".,"), word.strip(".,")) + word[len(word.rstrip(".,")) :]
        for word in before.replace("in front of", "behind").split(" ")
    )
    return turn["value"] != before


def far_away(record: dict, form: str) -> bool:
    record["conversations"][1]["value"] = " ".join(
        f"Object{k} :({7.5 + k},-6.0)." for k in range(len(record["bbox_list"][0]))
    )
    return True


def tiny(record: dict, form: str) -> bool:
    record["conversations"][1]["value"] = "length is 4 cm, width is 3 cm, and height is 2 cm."
    return True


def hall(record: dict, form: str) -> bool:
    turn = record["conversations"][1]
    turn["value"] = turn["value"].replace("30", "95")
    return True


def no_frames(record: dict, form: str) -> bool:
    turn = record["conversations"][1]
    marked = record["bbox_img_idx"][0][0]
    found = json.loads(turn["value"][turn["value"].index("[") : turn["value"].index("]") + 1])
    turn["value"] = f"It appears in frames {sorted({marked} | (set(range(32)) - set(found)))}."
    return True


def other_corner(record: dict, form: str) -> bool:
    turn = record["conversations"][1]
    x1, y1, x2, y2 = json.loads(
        turn["value"][turn["value"].index("[") : turn["value"].index("]") + 1]
    )
    turn["value"] = str([0, 0, 60, 60] if x1 + y1 > 400 else [900, 900, 1000, 1000])
    return True


CHANGES = {
    "a number": (NUMBERS, other_number, {"fill", "sentence"}, 0.95),
    "the letter of a number": (NUMBERS, other_letter, {"select"}, 0.3),
    "the two frames of a camera motion": (
        {"camera_motion_infer", "view_change_infer"},
        backwards,
        {"fill", "select", "sentence"},
        0.95,
    ),
    "the letter of a camera": ({"camera_motion_infer"}, other_letter, {"select"}, 0.95),
    "the three frames": (
        {"depth_prediction_oc_mv", "distance_prediction_oo_mv", "obj_spatial_relation_oo_mv"},
        backwards,
        {"fill", "sentence", "select"},
        0.1,
    ),
    "words of direction": (
        {t for t in TASKS if "relation" in t},
        mirrored,
        {"sentence", "judge"},
        0.6,
    ),
    "words after a move": (
        {
            "spatial_imagination_oc",
            "spatial_imagination_oc_mv",
            "spatial_imagination_oc_video",
            "spatial_imagination_oo_video",
        },
        mirrored,
        {"sentence"},
        0.5,
    ),
    "a map": ({"spatial_imagination_map_mv"}, far_away, {"sentence"}, 1.0),
    "a size": ({"spatial_volume_infer"}, tiny, {"fill"}, 1.0),
    "the size of a room": ({"room_size"}, hall, {"fill", "sentence"}, 1.0),
    "the frames of an object": ({"obj_frame_locate"}, no_frames, {"sentence"}, 1.0),
    "a box": ({"position_matching"}, other_corner, {"fill", "sentence"}, 1.0),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_row_is_contradicted(clean: Path, tmp_path: Path, name: str) -> None:
    tasks, change, forms, least = CHANGES[name]
    found, n = changed(clean, tmp_path, tasks, change, forms)
    untouched, _ = changed(clean, tmp_path / "as it was", tasks, lambda record, form: True, forms)
    decided = untouched.checked  # what the files can decide at all
    assert n >= 3 and untouched.mismatched == 0
    assert found.mismatched >= least * decided > 0, (
        f"{found.mismatched} of {n}, {decided} of them checkable"
    )
    assert found.checked - found.mismatched <= (0 if least >= 0.9 else 0.25 * n)


@pytest.mark.parametrize("factor", [0.5, 1.7])
def test_scaled_depth_images_are_found(clean: Path, tmp_path: Path, factor: float) -> None:
    part(clean, tmp_path, NUMBERS)
    for path in (tmp_path / "spar/scannet/images" / SCENE).glob("*_depth/*.png"):
        scaled = (np.asarray(Image.open(path)) * factor).astype(np.uint16)
        path.unlink()
        Image.fromarray(scaled).save(path, compress_level=1)
    found = verify(tmp_path)
    assert found.mismatched > 15 and not found.ok
    (problem,) = found.problems
    assert "times those of its depth images" in problem and SCENE in problem
    assert float(problem.split(" times")[0].split()[-1]) == pytest.approx(1.12 / factor, rel=0.12)


def test_swapped_poses_are_found(clean: Path, tmp_path: Path) -> None:
    part(
        clean,
        tmp_path,
        {
            "camera_motion_infer",
            "view_change_infer",
            "distance_prediction_oo_mv",
            "distance_prediction_oc_mv",
            "depth_prediction_oc",
        },
    )
    poses = sorted((tmp_path / "spar/scannet/images" / SCENE / "pose").iterdir())
    texts = [path.read_text() for path in poses]
    for path, text in zip(poses, texts[16:] + texts[:16]):
        path.unlink()
        path.write_text(text)
    found = verify(tmp_path, limit=100)
    for task in ("camera_motion_infer", "view_change_infer"):
        assert found.tasks[task].mismatched == found.tasks[task].checked > 5
    assert (
        found.tasks["distance_prediction_oo_mv"].mismatched
        + found.tasks["distance_prediction_oc_mv"].mismatched
        > 0
    )
    # a depth needs no pose
    assert found.tasks["depth_prediction_oc"].mismatched == 0


def test_what_cannot_be_checked_is_counted_with_its_reason(
    clean: Path, room: Scene, tmp_path: Path
) -> None:
    part(clean, tmp_path / "data", NUMBERS | {"camera_motion_infer", "view_change_infer"})
    images = tmp_path / "data/spar/scannet/images" / SCENE
    # of sixteen frames each something else is gone
    for n in range(0, 310, 20):
        what = ("image_depth", "pose", "image_depth", "image_color")[n // 20 % 4]
        path = next((images / what).glob(f"{n}.*"))
        path.unlink()
        if what == "pose":
            path.write_text("\n".join(["-inf -inf -inf -inf"] * 4))
        elif n // 20 % 4 == 2:
            Image.fromarray(np.full((120, 160), 40, np.uint16)).save(path)
    found = verify(tmp_path / "data")
    reasons = sum((task.not_checkable for task in found.tasks.values()), Counter())
    assert (
        found.mismatched == 0
        and found.checked
        and reasons["missing file: depth"]
        and reasons["missing file: image"]
        and reasons["pose: a matrix is not finite"]
    )
    assert any("no millimetres" in reason for reason in reasons)
    write_release(
        tmp_path / "bare",
        room,
        count=1,
        rgbd=False,
        tasks=("distance_prediction_oc", "camera_motion_infer"),
    )
    for name in ("image_depth", "pose", "intrinsic"):
        shutil.rmtree(tmp_path / "bare/spar/scannet/images" / SCENE / name)
    found = verify(tmp_path / "bare")
    assert not found.checked and set(
        sum((t.not_checkable for t in found.tasks.values()), Counter())
    ) == {"no depth, pose or intrinsics with this row (SPAR-7M without RGBD)"}


def test_damaged_rows_are_contradicted_or_counted(clean: Path, tmp_path: Path) -> None:
    path = tmp_path / "spar/scannet/qa_jsonl/train/distance_prediction_oc/select/select_9.jsonl"
    shutil.copytree(
        clean / "spar/scannet/images", tmp_path / "spar/scannet/images", copy_function=os.link
    )
    good = next(r for _, _, form, r in rows(clean, {"distance_prediction_oc"}) if form == "select")
    says = good["conversations"]

    def asked(question: str, answer: str) -> list[dict]:
        return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]

    stem = says[0]["value"]
    letters = says[0]["value"].splitlines()
    same = stem.replace(letters[2], "B. " + letters[1][3:])
    bad = {
        "not JSON": "{",
        "climbs": good | {"image": [f"../{good['image'][0]}"]},
        "another type": good | {"type": "obj_count"},
        "no such letter": good | {"conversations": asked(stem, "E")},
        "two say the same": good | {"conversations": asked(same, "A")},
        "three options": good | {"conversations": asked(stem.replace(letters[3] + "\n", ""), "A")},
        "a mark outside": good | {"red_point": [[1200, 30]]},
        "a flat mark": good | {"red_point": [500, 500]},
        "an image twice": good | {"image": good["image"] * 2},
        "no marks": {k: v for k, v in good.items() if k != "red_point"},
    }
    path.parent.mkdir(parents=True)
    path.write_text(
        "".join(
            (line if isinstance(line, str) else json.dumps(line)) + "\n"
            for line in (good, *bad.values())
        )
    )
    found = verify(tmp_path, limit=50)
    task = found.tasks["distance_prediction_oc"]
    assert task.checked == 1 + len(bad) and task.mismatched == len(bad) == len(
        {m.line for m in task.mismatches}
    )
    assert found.problems == [
        "spar/scannet/qa_jsonl/train/distance_prediction_oc/select/select_9.jsonl: 11 lines, its"
        " name says 9"
    ]
    problems: list[str] = []
    kept = list(read_released(tmp_path, problems=problems))
    assert (
        len(kept) + len(problems) == 11
        and all("select_9.jsonl" in problem for problem in problems)
        and len(problems) >= 6
    )
    with pytest.raises(ValueError, match=r"select_9\.jsonl.*line 2"):
        list(read_released(tmp_path))


@pytest.mark.parametrize(
    "options",
    [
        {"side": 3},
        {"per_frame": True, "side": 3},
        {"per_frame": True},
        {"rgbd": False},
        {"rooms": True, "source": "structured3d"},
    ],
    ids=["3x3", "3x3 for each frame", "4x4 for each frame", "paths by name", "rooms"],
)
def test_forms_of_the_release(room: Scene, tmp_path: Path, options: dict) -> None:
    """Whatever form the matrices have and whether the rows name their files: the same rows are
    confirmed and the same frames read."""
    tasks = (
        "distance_prediction_oc",
        "camera_motion_infer",
        "view_change_infer",
        "obj_spatial_relation_oc_mv",
        "distance_prediction_oo_video",
    )
    few = room.with_frames(room.frames[::2]) if options.get("rooms") else room
    write_release(tmp_path, few, count=2, tasks=tasks, **options)
    found = verify(tmp_path)
    assert (
        not found.mismatched
        and found.checked >= 8
        and "missing" not in str([t.not_checkable for t in found.tasks.values()])
    )
    scene = Spar7M(root=tmp_path, surface=False).load(SCENE)
    assert len(scene.frames) == len(few.frames) and not scene.skipped
    for read, true in zip(scene.frames, few.frames):
        assert np.allclose(read.camera_to_world, true.camera_to_world, atol=1e-8) and np.allclose(
            read.color.intrinsics, true.color.intrinsics, atol=1e-6
        )
    assert [f.index for f in scene.frames][-1] == (906015 if options.get("rooms") else 310)


# ------------------------------------------------------------------------------------------------------------------  # noqa: E501
# its frames as scenes


def test_frames_are_those_of_the_room(clean: Path, room: Scene) -> None:
    source = open_source(f"spar7m:{clean}/spar/scannet")
    assert (
        source.name == "scannet"
        and source.scenes() == source.scenes("train") == [SCENE]
        and source.scenes("val") == []
    )
    scene = source.load(SCENE)
    assert (
        [f.index for f in scene.frames] == [10 * f.index for f in room.frames]
        and not scene.instances
        and not scene.skipped
    )
    for read, true in list(zip(scene.frames, room.frames))[::9]:
        assert np.allclose(read.camera_to_world, true.camera_to_world, atol=1e-8) and np.allclose(
            read.depth.intrinsics, true.depth.intrinsics, atol=1e-6
        )
        assert np.abs(read.read_depth() - true.read_depth()).max() <= 5.1e-4
        assert (
            np.abs(read.read_color().astype(int) - true.read_color()).mean() < 4
            and read.read_encoded()[1] == ".jpg"
        )
    summary = source.summary(SCENE)
    # by names alone
    assert (summary.frames, summary.valid, summary.instances, summary.error) == (32, None, 0, "")
    # back-projected depth lies on the room's own surface
    from spar_kit.scenes.geometry.rasterizer import render_depth_and_ids

    for read in scene.frames[::9]:
        drawn = render_depth_and_ids(room.surface, read.depth, read.camera_to_world)[0]
        both = (drawn > 0) & (read.read_depth() > 0)
        assert both.mean() > 0.5 and np.median(np.abs(drawn - read.read_depth())[both]) < 0.01


def test_camera_questions_are_made_of_it_and_verified(clean: Path, tmp_path: Path) -> None:
    manifest = generate(
        open_source(f"spar7m:{clean}/spar/scannet"),
        tmp_path,
        tasks="camera_motion_infer,view_change_infer",
        per_task=5,
        width=160,
        progress=False,
    )
    found = verify(tmp_path)
    assert manifest.records >= 20 and found.ok and found.checked == manifest.records


def test_a_folder_with_several_parts_asks_which(clean: Path, tmp_path: Path) -> None:
    with pytest.raises(
        SceneError, match=r"several parts.*spar7m:.*spar/scannet, spar7m:.*spar/rxr"
    ):
        open_source(f"spar7m:{clean}")
    with pytest.raises(SceneError, match="no SPAR-7M here"):
        open_source(f"spar7m:{tmp_path}")


@pytest.fixture
def copy(clean: Path, tmp_path: Path) -> Path:
    shutil.copytree(clean / "spar/scannet/images", tmp_path / "scannet/images")
    for name in ("video_color", "video_depth", "video_pose"):
        shutil.rmtree(tmp_path / "scannet/images" / SCENE / name)
    return tmp_path / "scannet"


def truncate(path: Path, keep: int = 60) -> None:
    path.write_bytes(path.read_bytes()[:keep])


FRAME_FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no depth": (lambda f: (f / "image_depth/30.png").unlink(), "depth image is missing"),
    "no pose": (lambda f: (f / "pose/30.txt").unlink(), "pose is missing"),
    "a lost pose": (lambda f: (f / "pose/30.txt").write_text("-inf " * 16), "not finite"),
    "a sheared pose": (
        lambda f: (f / "pose/30.txt").write_text("2 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1"),
        "not rigid",
    ),
    "half a pose": (lambda f: (f / "pose/30.txt").write_text("1 0 0 0\n0 1 0"), "7 numbers"),
    "words for a pose": (
        lambda f: (f / "pose/30.txt").write_text("east of the door"),
        "not a number",
    ),
    "an empty image": (lambda f: (f / "image_color/30.jpg").write_bytes(b""), "not an image"),
    "a cut depth head": (lambda f: truncate(f / "image_depth/30.png", 12), "not an image"),
    "a link outside": (
        lambda f: ((f / "pose/30.txt").unlink(), (f / "pose/30.txt").symlink_to("/etc/hostname")),
        "out of the dataset",
    ),
}


@pytest.mark.parametrize("name", FRAME_FAULTS)
def test_a_bad_frame_is_left_out_and_named(copy: Path, name: str) -> None:
    damage, reason = FRAME_FAULTS[name]
    damage(copy / "images" / SCENE)
    scene = Spar7M(root=copy, surface=False).load(SCENE)
    assert len(scene.frames) == 31 and 30 not in {f.index for f in scene.frames}
    ((told, n),) = scene.skipped.items()
    assert n == 1 and reason in told and str(copy) not in told
    with pytest.raises(SceneError, match=reason):
        Spar7M(root=copy, surface=False, strict=True).load(SCENE)


def lose(*names: str) -> Callable[[Path], None]:
    return lambda folder: (
        [
            shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()
            for name in names
        ]
        and None
    )


def rescale(factor: float) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for path in (folder / "image_depth").iterdir():
            Image.fromarray((np.asarray(Image.open(path)) * factor).astype(np.uint16)).save(path)

    return change


SCENE_FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no poses": (lose("pose"), "no frame can be used.*pose is missing"),
    "no depth": (lose("image_depth"), "no frame can be used.*depth image is missing"),
    "no intrinsics": (lose("intrinsic"), "no frame can be used.*intrinsics is missing"),
    "no images": (lose("image_color"), "no frame can be used|no scene"),
    "centimetres": (rescale(0.1), "median of the depth values"),
    "tenths of millimetres": (rescale(8.0), "median of the depth values"),
    "zeros": (rescale(0), "median of the depth values is 0"),
    "absurd intrinsics": (
        lambda f: (f / "intrinsic/intrinsic_color.txt").write_text("-1 0 0\n0 1e9 0\n0 0 1"),
        "no frame can be used.*not the intrinsics",
    ),
    "intrinsics of words": (
        lambda f: (f / "intrinsic/intrinsic_color.txt").write_text("f = 3"),
        "no frame can be used",
    ),
}


@pytest.mark.parametrize("name", SCENE_FAULTS)
def test_a_scene_without_frames_says_why(copy: Path, name: str) -> None:
    damage, reason = SCENE_FAULTS[name]
    damage(copy / "images" / SCENE)
    with pytest.raises(SceneError, match=reason):
        Spar7M(root=copy, surface=False).load(SCENE)


def test_pixels_that_cannot_be_read_are_named_when_they_are(copy: Path) -> None:
    folder = copy / "images" / SCENE
    truncate(folder / "image_color/30.jpg", 1500)
    truncate(folder / "image_depth/40.png", 400)
    Image.fromarray(np.full((60, 80), 2000, np.uint16)).save(folder / "image_depth/50.png")
    Image.fromarray(np.full((120, 160), 90, np.uint8)).save(folder / "image_depth/60.png")
    scene = Spar7M(root=copy, surface=False).load(SCENE)
    frames = {frame.index: frame for frame in scene.frames}
    for index, read, reason in (
        (30, frames[30].read_color, "30.jpg"),
        (40, frames[40].read_depth, "40.png"),
        (60, frames[60].read_depth, "60.png"),
    ):
        with pytest.raises(SceneError, match=reason):
            read()
        assert index in frames
    # with a surface all depth is read: such frames are left out and counted
    fused = Spar7M(root=copy).load(SCENE)
    assert {40, 60}.isdisjoint(frame.index for frame in fused.frames) and sum(
        fused.skipped.values()
    ) >= 2
    with pytest.raises(SceneError):
        Spar7M(root=copy, strict=True).load(SCENE)


def test_images_of_another_size_do_not_share_intrinsics(copy: Path) -> None:
    folder = copy / "images" / SCENE
    Image.fromarray(np.full((60, 80), 2000, np.uint16)).save(folder / "image_depth/0.png")
    Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(folder / "image_color/60.jpg")
    bomb = bytearray((folder / "image_depth/80.png").read_bytes())
    bomb[16:24] = (60000).to_bytes(4, "big") * 2
    (folder / "image_depth/80.png").unlink()
    (folder / "image_depth/80.png").write_bytes(bomb)
    scene = Spar7M(root=copy, surface=False).load(SCENE)
    assert {0, 60, 80}.isdisjoint(frame.index for frame in scene.frames) and len(scene.frames) == 29
    assert (
        scene.skipped["frame: image_depth: 80x60 where others have 160x120"] == 1
        and scene.skipped["frame: image_color: 64x48 where others have 240x180"] == 1
    )
    with pytest.raises(SceneError, match=r"image_depth/0\.png: image_depth: 80x60|80\.png"):
        Spar7M(root=copy, surface=False, strict=True).load(SCENE)


def test_names_do_not_climb(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (copy / "images/linked").symlink_to(tmp_path / "outside")
    for name in ("../..", "/etc", "linked", "nothing", ""):
        with pytest.raises(SceneError):
            Spar7M(root=copy).load(name)
    shutil.move(copy / "images" / SCENE / "image_depth", tmp_path / "outside/image_depth")
    (copy / "images" / SCENE / "image_depth").symlink_to(tmp_path / "outside/image_depth")
    with pytest.raises(SceneError, match="out of the dataset"):
        Spar7M(root=copy, surface=False).load(SCENE)
