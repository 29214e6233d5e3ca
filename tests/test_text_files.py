"""Lists and text files as people save them: encodings, line ends, paths, quotes. A held-out scene
is held out however its list was saved."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import Toys

from spar_kit.core.files import read_json
from spar_kit.core.text_files import decode_text, forms_of, match_names, read_key_values, read_names
from spar_kit.data.generate import generate
from spar_kit.data.leakage import excluded_scenes, find_lists, held_out_scenes, read_list
from spar_kit.scenes.box_room import box_room_scene
from spar_kit.scenes.formats.colmap import read_cameras, read_images
from spar_kit.scenes.readers.scannet.exported_frames import read_matrix
from spar_kit.scenes.readers.scannet.labels import read_labels
from spar_kit.scenes.readers.scannet.reader import ScanNet, read_info
from spar_kit.scenes.readers.scannet.writer import write_scannet
from spar_kit.scenes.scene import SceneError
from spar_kit.scenes.splits import split_scenes

ENCODINGS = (
    "utf-8",
    "utf-8-sig",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "utf-32",
    "utf-32-le",
    "utf-32-be",
    "cp1252",
    "gb18030",
    "shift-jis",
)
NAMES = [f"scene{k:04d}_00" for k in range(4)]


def saved(text: str) -> list[bytes]:
    """One text as editors, shells and spreadsheets save it."""
    ends = [text, text.replace("\n", "\r\n"), text.replace("\n", "\r"), text.rstrip("\n")]
    big = b"\xfe\xff" + text.encode("utf-16-be")
    return [end.encode(encoding) for end in ends for encoding in ENCODINGS] + [
        big,
        b"\xef\xbb\xbf" + text.encode("utf-8-sig"),
    ]


@given(
    st.lists(st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True), min_size=1, max_size=6),
    st.sampled_from(ENCODINGS),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
@settings(max_examples=200, deadline=None)
def test_any_encoding_and_any_line_ends_give_the_same_names(
    names: list[str], encoding: str, end: str
) -> None:
    assert decode_text(end.join(names).encode(encoding), "x").split("\n") == names


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_bytes_are_a_text_or_one_clear_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_bytes(data)
    for read in (read_names, read_key_values):
        try:
            read(path)
        except SceneError as error:
            assert str(path) in str(error) and "\n" not in str(error)


def test_a_held_out_scene_is_held_out_however_its_list_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "scannetv2_val.txt"
    for data in saved(f"{NAMES[0]}\n{NAMES[2]}\n"):
        path.write_bytes(data)
        assert split_scenes(NAMES, "train", [tmp_path], "scannetv2_{}.txt") == [
            NAMES[1],
            NAMES[3],
        ], data
        assert list(held_out_scenes("scannet", NAMES, [path])) == [NAMES[0], NAMES[2]], data
        assert read_list(path) == [NAMES[0], NAMES[2]], data
        assert list(excluded_scenes(path, NAMES, NAMES)[0]) == [NAMES[0], NAMES[2]], data


@pytest.mark.parametrize(
    "entry",
    [
        "Scene0000_00",
        "SCENE0000_00",
        '"scene0000_00"',
        "'scene0000_00',",
        "scans/scene0000_00",
        "scans/scene0000_00/",
        "scene0000_00/",
        "./scans/scene0000_00",
        "C:\\My Data\\scans\\scene0000_00\\",
        "/data/scans/scene0000_00/scene0000_00.sens",
        "scene0000_00.sens",
        "scene0000_00.txt",
        "scene0000_00_vh_clean_2.ply",
        "scene0000_00.aggregation.json",
        "scene0000_00_vh_clean_2.0.010000.segs.json",
        "scene0000_00;scene0009_00",
        "scene0009_00\tscene0000_00",
        "- scene0000_00",
        '["scene0000_00", "scene0009_00"]',
        "  scene0000_00  # held out",
        "scene_id,scene0000_00",
        "scene0000_00_2d-instance-filt.zip",
        "\u200bscene0000_00\xa0",
    ],
)
def test_entries_mean_the_scene_they_name(tmp_path: Path, entry: str) -> None:
    path = tmp_path / "scannetv2_val.txt"
    path.write_text(entry + "\n", encoding="utf-8")
    assert list(excluded_scenes(path, NAMES, NAMES)[0]) == [NAMES[0]]
    assert split_scenes(NAMES, "train", [tmp_path], "scannetv2_{}.txt") == NAMES[1:]
    assert list(held_out_scenes("scannet", NAMES, [path])) == [NAMES[0]]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\n\n# none\n",
        b"two names\n",
        b"\xff\xfes\0c",
        b"scene0000_00\nscene\xe9\n",
        bytes(range(256)) * 4,
        "场景一\n".encode("utf-16"),
        b"0a5c013435\n7d3e91\n",
        b"train0000\nval0001\n",
        "scene0000_00\n".encode("utf-16-le")[1:],
    ],
)
def test_a_list_of_which_no_name_can_be_meant_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "scannetv2_val.txt"
    path.write_bytes(data)
    for reader in (
        lambda: split_scenes(NAMES, "train", [tmp_path], "scannetv2_{}.txt"),
        lambda: excluded_scenes(path, NAMES, NAMES),
    ):
        with pytest.raises((SceneError, ValueError), match=re.escape(str(path))) as caught:
            reader()
        assert "\n" not in str(caught.value)


def test_lists_that_name_other_scenes_of_the_same_dataset_are_no_fault(tmp_path: Path) -> None:
    (tmp_path / "scannetv2_val.txt").write_text("scene0568_00\nscene0568_01\n")
    assert (
        split_scenes(NAMES, "train", [tmp_path], "scannetv2_{}.txt") == NAMES
        and split_scenes(NAMES, "val", [tmp_path], "scannetv2_{}.txt") == []
    )
    (tmp_path / "scannetv2_train.txt").write_text(f"{NAMES[1]}.sens\n")
    (tmp_path / "scannetv2_val.txt").write_text("Scene0001_00\n")
    with pytest.raises(SceneError, match="(?i)Scene0001_00 is in the training list as well"):
        split_scenes(NAMES, "train", [tmp_path], "scannetv2_{}.txt")


@pytest.mark.parametrize(
    "name", ["ScanNetV2_VAL.txt", "scannetv2_val.txt.txt", "SCANNETV2_VAL.TXT"]
)
def test_a_list_is_found_under_the_names_that_windows_gives_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("scene0000_00\n")
    assert split_scenes(NAMES, "train", [tmp_path], "scannetv2_{}.txt") == NAMES[1:]
    assert [path.name for path in find_lists(ScanNet(root=tmp_path))] == [name]


def test_names_match_as_written_first_then_in_any_case_then_without_suffixes() -> None:
    assert match_names(["room.v2", "ROOM", "room.sens", "roomy"], ["room", "Room", "room.v2"]) == (
        {"room": "ROOM", "Room": "ROOM", "room.v2": "room.v2"},
        ["roomy"],
    )
    assert match_names(["a.1"], ["a"]) == ({}, ["a.1"]) and "a" not in list(forms_of("a.1"))


def test_entries_of_an_exclude_list_that_are_no_scene_are_counted_and_said(tmp_path: Path) -> None:
    source = Toys(
        ("toy0000_00", "toy0001_00", "toy0002_00"),
        lambda name: box_room_scene(frames=4, width=96, name=name),
    )
    mine = tmp_path / "mine.txt"
    mine.write_text("toy0001_00\ntoy0007_00\nscene_id\n")
    made = generate(
        source,
        tmp_path / "out",
        tasks="depth_prediction_oc",
        per_task=2,
        width=64,
        progress=False,
        exclude=mine,
    )
    assert made.held_out == {"toy0001_00": "excluded by name"} and made.not_scenes == {
        "mine.txt": ["toy0007_00", "scene_id"]
    }
    assert "mine.txt: 2 of its entries are no scenes of this source, such as 'toy0007_00'" in str(
        made
    )
    mine.write_text("toy0007_00\n")
    with pytest.raises(
        ValueError,
        match=(
            "mine.txt: none of its 1 names is a scene of this source, such as 'toy0000_00'; the"
            " first is 'toy0007_00'"
        ),
    ):
        generate(
            source,
            tmp_path / "other",
            tasks="depth_prediction_oc",
            per_task=2,
            width=64,
            progress=False,
            exclude=mine,
        )
    assert not (tmp_path / "other").exists()


def test_an_exclude_list_may_name_scenes_of_the_other_split_and_beyond_the_number_asked_for(
    tmp_path: Path,
) -> None:
    for name in NAMES:
        write_scannet(
            box_room_scene(frames=4, width=96, name=name),
            tmp_path / "data",
            split="val" if name == NAMES[3] else "train",
        )
    mine = tmp_path / "mine.txt"
    mine.write_text("\n".join((NAMES[3], NAMES[2])))
    made = generate(
        ScanNet(root=tmp_path / "data", count=2),
        tmp_path / "out",
        tasks="depth_prediction_oc",
        per_task=2,
        width=64,
        progress=False,
        exclude=mine,
    )
    assert made.held_out == {} == made.not_scenes and set(made.content["scenes"]) == set(NAMES[:2])


# --- keys and values, numbers
# -------------------------------------------------------------------------------------------------------  # noqa: E501

TURN = np.array([[0.8, -0.6, 0, 1.5], [0.6, 0.8, 0, -2], [0, 0, 1, -0.3], [0, 0, 0, 1]])
VALUES = " ".join(f"{v:g}" for v in TURN.ravel())


@pytest.mark.parametrize(
    "form",
    [
        "{} = {}",
        "{}={}",
        "{}\t=\t{}",
        "{}\t{}",
        "{}: {}",
        "  {} =  {}  ",
        '"{}" = "{}"',
        "{} = {},",
        "{} {}",
    ],
)
def test_the_alignment_is_read_however_it_is_written(tmp_path: Path, form: str) -> None:
    text = "".join(
        form.format(key, value) + "\n"
        for key, value in (
            ("axisAlignment", VALUES),
            ("sceneType", "Living room"),
            ("colorWidth", "1296"),
        )
    )
    for data in saved(text):
        (tmp_path / "s.txt").write_bytes(data)
        info = read_info(tmp_path / "s.txt")
        assert (
            np.array_equal(info.alignment, TURN)
            and info.room_type == "Living room"
            and info.numbers["colorWidth"] == 1296
        ), data


@pytest.mark.parametrize(
    "line",
    [
        "axisAlignment = " + VALUES.replace(".", ","),
        "axisAlignment =",
        "axisAlignment",
        "axisAlignment = 1 0 0",
        "axisAlignment(4x4) = 1",
        "axisalignment = nan " + VALUES[2:],
        "the_axisAlignment = 0 1",
    ],
)
def test_an_alignment_that_cannot_be_read_is_an_error_with_its_line(
    tmp_path: Path, line: str
) -> None:
    (tmp_path / "s.txt").write_text(f"colorWidth = 4\n{line}\n")
    with pytest.raises(SceneError, match="s.txt: line 2: axisAlignment must be a rigid motion"):
        read_info(tmp_path / "s.txt")


def test_keys_are_known_in_any_case(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text(f"AXISALIGNMENT = {VALUES}\nFX_COLOR = 3\nscenetype = Bath\n")
    info = read_info(tmp_path / "s.txt")
    assert (
        np.array_equal(info.alignment, TURN)
        and info.numbers == {"fx_color": 3.0}
        and info.room_type == "Bath"
    )


def test_matrices_tables_and_models_are_read_in_any_encoding(tmp_path: Path) -> None:
    for data in saved("1 0 0 2\n0,1,0,3\n[0; 0; 1; 4]\n0\t0\t0\t1\n"):
        (tmp_path / "pose.txt").write_bytes(data)
        assert read_matrix(tmp_path / "pose.txt")[:3, 3].tolist() == [2, 3, 4]
    for data in saved("id\traw_category\tcategory\tnyu40class\n1\tarm chair\tchair\tchair\n"):
        (tmp_path / "labels.tsv").write_bytes(data)
        assert read_labels(tmp_path / "labels.tsv", "category") == {"arm chair": "chair"}
    for data in saved("# cameras\n1 PINHOLE 640 480 500 500 320 240\n"):
        (tmp_path / "cameras.txt").write_bytes(
            data.replace(b"\r", b"\n") if b"\0" not in data and b"\n" not in data else data
        )
        lenses = read_cameras(tmp_path / "cameras.txt")
        assert list(lenses) == [1]
    for text in (
        "1 1 0 0 0 0 0 0 1 a.jpg\n1.5 2.5 -1\n",
        "1\t1 0 0 0 0 0 0 1 a.jpg\n1.5\t2.5\t-1\n",
        "1 1 0 0 0 0 0 0 1 a.jpg\n1.5  2.5  -1\n",
    ):
        for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-be"):
            (tmp_path / "images.txt").write_bytes(text.encode(encoding))
            assert [view.name for view in read_images(tmp_path / "images.txt", lenses)] == ["a.jpg"]
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(tmp_path / "a.json") == {"a": 1}
