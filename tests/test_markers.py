"""Markers: on the right image, at the right pixels, in the right color."""

import sys

import numpy as np
import pytest
from PIL import Image

from spar_kit.tasks.markers import draw_markers, marks_of, place_label, write_marked_images

RED = (255, 0, 0)
GREEN = (0, 128, 0)
BLUE = (0, 0, 255)
YELLOW = (255, 255, 0)
RGB = {"red": RED, "green": GREEN, "blue": BLUE, "yellow": YELLOW}
BOX = {
    c: [[100 + 20 * i, 100, 300, 300 + 20 * i]]
    for i, c in enumerate(("red", "blue", "green", "yellow"))
}
POINT = {c: [[200 + 150 * i, 400]] for i, c in enumerate(("red", "blue", "green"))}


def images(n, size=(640, 480)):
    return [Image.new("RGB", size, (90, 90, 90)) for _ in range(n)]


def colored(image, rgb):
    return (np.asarray(image) == rgb).all(-1)


@pytest.mark.parametrize(
    "task, order",
    [
        ("depth_prediction_oc_mv", ("red", "blue")),
        ("depth_prediction_oo_mv", ("red", "blue", "green")),
        ("distance_prediction_oc_mv", ("red",)),
        ("distance_prediction_oo_mv", ("red", "blue")),
        ("distance_infer_center_oo_mv", ("red", "green", "blue")),
    ],
)
def test_points_go_to_the_images_of_the_task(task, order):
    index = [2, 0, 1][: len(order)]
    record = {
        "type": task,
        "image": ["a", "b", "c"],
        "point_img_idx": [index],
        **{f"{c}_point": POINT[c] for c in order},
    }
    assert {m.color: m.image for m in marks_of(record)} == dict(zip(order, index))


@pytest.mark.parametrize(
    "task, order",
    [
        ("spatial_imagination_oc_mv", ("green", "blue", "red")),
        ("spatial_imagination_oo_mv", ("green", "blue", "red", "yellow")),
        ("spatial_imagination_oc_video", ("green", "blue", "red")),
        ("spatial_imagination_oo_video", ("green", "blue", "red", "yellow")),
        ("obj_spatial_relation_oo_mv", ("red", "blue")),
        ("obj_spatial_relation_oo_mv", ("red", "green")),
        ("obj_spatial_relation_oo_mv", ("blue", "green")),
    ],
)
def test_boxes_go_to_the_images_of_the_task(task, order):
    n = 32 if "video" in task else 3
    index = [2, 0, 1, 2][: len(order)]
    record = {
        "type": task,
        "image": ["a"] * n,
        "bbox_img_idx": [index],
        **{f"{c}_bbox": BOX[c] for c in order},
    }
    marks = marks_of(record)
    assert {m.color: m.image for m in marks} == dict(zip(order, index))
    if "video" in task:
        assert {m.color: m.label for m in marks} == {c: f"object{k}" for k, c in enumerate(order)}


@pytest.mark.parametrize(
    "task, drawn",
    [
        ("depth_prediction_oo", ("red", "blue", "green")),
        ("distance_infer_center_oo_mv", ("red", "green", "blue")),
        ("spatial_imagination_oo", ("red", "blue", "green", "yellow")),
        ("spatial_imagination_oo_mv", ("red", "green", "blue", "yellow")),
        ("spatial_imagination_oo_video", ("green", "blue", "red", "yellow")),
    ],
)
def test_a_later_mark_covers_an_earlier_one_in_the_order_of_the_released_script(task, drawn):
    kind = "point" if len(drawn) == 3 else "bbox"
    n = 1 if task.endswith("oo") else 32
    marks = {
        f"{c}_{kind}": [[300, 300] if kind == "point" else [200, 200, 600, 600]] for c in drawn
    }
    record = {
        "type": task,
        "image": ["a"] * n,
        **marks,
        **({f"{kind}_img_idx": [[0] * len(drawn)]} if n > 1 else {}),
    }
    assert tuple(m.color for m in marks_of(record)) == drawn
    top = draw_markers(record, images(n))[0]
    assert [c for c in RGB if colored(top, RGB[c]).any()] == [drawn[-1]]


def test_lists_are_labelled():
    record = {
        "type": "distance_infer_center_oo_video",
        "image": ["a"] * 32,
        "point_list": [[[1, 2], [3, 4], [5, 6]]],
        "point_img_idx": [[3, 9, 31]],
    }
    assert [(m.image, m.label) for m in marks_of(record)] == [
        (3, "objectA"),
        (9, "object0"),
        (31, "object1"),
    ]
    record = {
        "type": "spatial_imagination_map_mv",
        "image": ["a"] * 3,
        "bbox_list": [[[1, 2, 3, 4], [5, 6, 7, 8]]],
        "bbox_img_idx": [[2, 0]],
    }
    assert [(m.image, m.label) for m in marks_of(record)] == [(2, "object0"), (0, "object1")]


@pytest.mark.parametrize("at", [[500, 500], [985, 500], [15, 500], [500, 990], [995, 5], [5, 995]])
def test_a_name_hides_no_point(at):
    """Also at the borders, where it has to stand on the other side of its point."""
    record = {
        "type": "distance_infer_center_oo_video",
        "image": ["a"] * 32,
        "point_list": [[at]],
        "point_img_idx": [[3]],
    }
    named = draw_markers(record, images(32))[3]
    alone = draw_markers(
        {"type": "distance_prediction_oc", "image": ["a"], "red_point": [at]}, images(1)
    )[0]
    assert (colored(named, RED) == colored(alone, RED)).all() and colored(
        named, (0, 0, 0)
    ).sum() > 200


@pytest.mark.parametrize(
    "box", [[400, 400, 460, 450], [400, 0, 460, 50], [940, 500, 1000, 540], [0, 950, 60, 1000]]
)
def test_a_name_hides_no_box(box):
    record = {
        "type": "spatial_imagination_map_mv",
        "image": ["a"] * 3,
        "bbox_list": [[box]],
        "bbox_img_idx": [[2]],
    }
    named = np.asarray(draw_markers(record, images(3))[2])
    x1, y1, x2, y2 = np.array(box) * ([0.64, 0.48] * 2)
    assert (named[int(y1) + 4 : int(y2) - 4, int(x1) + 4 : int(x2) - 4] == 90).all() and (
        named == 0
    ).all(-1).sum() > 200
    # no room outside: in its corner
    whole = draw_markers({**record, "bbox_list": [[[0, 0, 1000, 1000]]]}, images(3))[2]
    assert colored(whole, (0, 0, 0))[:60, :120].sum() > 200


@pytest.mark.parametrize("size", [(320, 240), (640, 480), (1296, 968)])
def test_labels_lie_apart(size):
    """Seven objects on a heap, in one image: each name can be read; the first stands where it would
    stand alone."""
    generator = np.random.default_rng(5)
    label = (max(9, 60 * size[0] // 1296) * 4, max(9, 60 * size[0] // 1296))
    for _ in range(60):
        middle = generator.uniform(0.2, 0.8, 2) * size
        low = middle + generator.normal(0, 0.06, (7, 2)) * size
        boxes = [
            tuple(int(v) for v in (*b, *(b + generator.uniform(0.04, 0.3, 2) * size))) for b in low
        ]
        taken = []
        for n, box in enumerate(boxes):
            x, y = place_label(box, label, size, False, taken)
            assert 0 <= x <= size[0] - label[0] and 0 <= y <= size[1] - label[1]
            assert all(
                x + label[0] <= t[0] or t[2] <= x or y + label[1] <= t[1] or t[3] <= y
                for t in taken
            )
            assert n or (x, y) == place_label(box, label, size, False, [])
            taken.append((x, y, x + label[0], y + label[1]))


def test_no_shape_is_drawn_over_a_label():
    record = {"type": "spatial_imagination_map_mv", "image": ["a"] * 3, "bbox_img_idx": [[2, 2]]}
    one = [400, 400, 600, 600]
    alone = np.asarray(
        draw_markers({**record, "bbox_list": [[one]], "bbox_img_idx": [[2]]}, images(3))[2]
    )
    # its frame runs through the first one's label
    both = np.asarray(
        draw_markers({**record, "bbox_list": [[one, [380, 330, 700, 420]]]}, images(3))[2]
    )
    dark = (alone == 0).all(-1)
    assert dark.sum() > 200 and (both[dark] == 0).all()


def test_released_pixels_are_those_of_the_description():
    """Radius 20 at the truncated point; a frame 20 wide whose outer edge is the truncated corner
    moved by 17.5, at any size."""
    for size in ((1296, 968), (640, 480)):
        record = {
            "type": "depth_prediction_oc",
            "image": ["a"],
            "red_point": [[553, 397]],
            "blue_point": [[641, 838]],
        }
        image = draw_markers(record, images(1, size), released=True)[0]
        for rgb, (x, y) in ((RED, (553, 397)), (BLUE, (641, 838))):
            rows, columns = np.nonzero(colored(image, rgb))
            cx = int(x / 1000 * size[0])
            cy = int(y / 1000 * size[1])
            assert (columns.min(), columns.max(), rows.min(), rows.max()) == (
                cx - 20,
                cx + 20,
                cy - 20,
                cy + 20,
            )
            assert abs(len(rows) - np.pi * 20.5**2) < 60
        box = [120, 200, 700, 810]
        image = draw_markers(
            {"type": "spatial_volume_infer", "image": ["a"], "red_bbox": [box]},
            images(1, size),
            released=True,
        )[0]
        x1, y1, x2, y2 = (
            int(v / 1000 * s + e) for v, s, e in zip(box, size * 2, (-17.5, -17.5, 17.5, 17.5))
        )
        wanted = np.zeros((size[1], size[0]), bool)
        wanted[y1 : y2 + 1, x1 : x2 + 1] = True
        wanted[y1 + 20 : y2 - 19, x1 + 20 : x2 - 19] = False
        assert (colored(image, RED) == wanted).all()


def test_sizes_follow_the_width_and_the_scale():
    record = {"type": "distance_prediction_oc", "image": ["a"], "red_point": [[500, 500]]}
    radius = [
        (np.ptp(np.nonzero(colored(draw_markers(record, images(1, (w, 300)), scale=s)[0], RED))[1]))
        / 2
        for w, s in ((1296, 1), (648, 1), (648, 2), (160, 1))
    ]
    assert radius == [20, 10, 20, 2]
    small = draw_markers(record, images(1, (16, 12)))[0]
    assert colored(small, RED).any()


def test_our_colors_are_those_named_and_the_released_ones_are_not_all():
    row = {
        "type": "spatial_imagination_oo_video",
        "image": ["a"] * 32,
        "bbox_img_idx": [[0, 1, 2, 3]],
        **{f"{c}_bbox": BOX[c] for c in BOX},
    }
    ours = draw_markers(row, images(32))
    for k, rgb in enumerate((GREEN, BLUE, RED, YELLOW)):
        assert colored(ours[k], rgb).sum() > 200
    theirs = draw_markers(row, images(32, (1296, 968)), released=True)
    # their "yellow" comes out cyan
    assert colored(theirs[3], (0, 225, 225)).any() and not colored(theirs[3], YELLOW).any()
    row = {
        "type": "spatial_imagination_map_mv",
        "image": ["a"] * 3,
        "bbox_list": [[[100, 100, 300, 300]]],
        "bbox_img_idx": [[1]],
    }
    # and their lists blue
    assert colored(draw_markers(row, images(3, (1296, 968)), released=True)[1], BLUE).any()


def test_without_opencv_a_released_box_is_its_line_21_pixels_wide(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    row = {
        "type": "spatial_imagination_map_mv",
        "image": ["a"],
        "bbox_list": [[[100, 250, 300, 500]]],
        "bbox_img_idx": [[0]],
    }
    blue = colored(draw_markers(row, images(1, (1000, 800)), released=True)[0], BLUE)
    assert np.flatnonzero(blue[300]).tolist() == [*range(70, 91), *range(310, 331)]
    assert np.flatnonzero(blue[:, 200]).tolist() == [*range(170, 191), *range(410, 431)]


def test_inputs_stay_as_they_are_and_other_images_are_passed_on():
    given = images(3)
    record = {
        "type": "distance_prediction_oc_mv",
        "image": ["a", "b", "c"],
        "point_img_idx": [[1]],
        "red_point": [[500, 500]],
    }
    out = draw_markers(record, given)
    assert out[0] is given[0] and out[2] is given[2] and out[1] is not given[1]
    assert all((np.asarray(image) == 90).all() for image in given)
    gray = Image.new("L", (64, 48), 7)
    assert (
        draw_markers(
            {"type": "distance_prediction_oc", "image": ["a"], "red_point": [[500, 500]]}, [gray]
        )[0].mode
        == "RGB"
    )
    assert draw_markers({"type": "room_size", "image": ["a"]}, [gray]) == [gray]


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"red_point": [500, 500]}, "red_point"),
        ({"red_point": [[500]]}, "red_point"),
        ({"red_bbox": [[1, 2, 3]]}, "red_bbox"),
        ({"red_point": [["a", 3]]}, "red_point"),
        ({"red_point": [[5, 5]], "point_img_idx": [[7]]}, "img_idx"),
        ({"red_point": [[5, 5]], "point_img_idx": [[]]}, "img_idx"),
        ({"red_point": [[5, 5]], "point_img_idx": 3}, "point_img_idx"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        draw_markers({"type": "distance_prediction_oc", "image": ["a"], **fields}, images(1))


def test_a_box_at_the_border_and_one_outside():
    record = {"type": "spatial_volume_infer", "image": ["a"], "red_bbox": [[0, 0, 1000, 1000]]}
    draw_markers(record, images(1))
    assert colored(
        draw_markers({**record, "red_bbox": [[-1, 0, 3, 2]]}, images(1, (20, 20)), released=True)[
            0
        ],
        RED,
    ).any()


def test_bake(tmp_path):
    record = {
        "id": "room_1",
        "type": "depth_prediction_oc_mv",
        "image": ["a", "b", "c"],
        "point_img_idx": [[2, 0]],
        "red_point": POINT["red"],
        "blue_point": POINT["blue"],
    }
    baked = write_marked_images(record, images(3), tmp_path)
    assert baked["image"] == ["room_1_0.jpg", "room_1_1.jpg", "room_1_2.jpg"] and set(baked) == {
        "id",
        "type",
        "image",
    }
    red = np.asarray(Image.open(tmp_path / "room_1_2.jpg"))[192, 128].astype(int)
    assert red[0] > 200 and red[1] < 60
