"""PLY meshes as other programs write them: lists beside the corners, colors as real numbers."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spar_kit.scenes.formats.ply import read_ply
from spar_kit.scenes.scene import SceneError

POINTS = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
SIDES = [[0, 1, 2], [0, 2, 3]]
FORMATS = ("ascii", "binary_little_endian", "binary_big_endian")


def written(
    format: str,
    faces: list,
    after: str = "",
    *,
    columns: str = "property list uchar float texcoord",
    colors: list | None = None,
    color: str = "float",
) -> bytes:
    """A mesh of two triangles; a face is (numbers before, corners, texture coordinates or None,
    numbers behind)."""
    head = [
        "ply",
        f"format {format} 1.0",
        "comment VCGLIB generated",
        f"element vertex {len(POINTS)}",
        *(f"property float {c}" for c in "xyz"),
        *(f"property {color} {c}" for c in ("red", "green", "blue") if colors is not None),
        f"element face {len(faces)}",
        "property list uchar int vertex_indices",
        *([columns] if columns else []),
        *([after] if after else []),
        "end_header",
        "",
    ]
    code = {"float": "f", "double": "d", "uchar": "B", "ushort": "H"}[color]
    order = ">" if format.endswith("big_endian") else "<"
    rows = []
    for k, point in enumerate(POINTS):
        extra = [] if colors is None else colors[k]
        rows.append(
            " ".join(f"{v:g}" for v in (*point, *extra)).encode() + b"\n"
            if format == "ascii"
            else struct.pack(f"{order}3f{len(extra)}{code}", *point, *extra)
        )
    for corners, texture, last in faces:
        texture = [] if texture is None else [texture]
        if format == "ascii":
            words = [len(corners), *corners, *(w for t in texture for w in (len(t), *t)), *last]
            rows.append(" ".join(map(str, words)).encode() + b"\n")
        else:
            rows.append(
                struct.pack(f"{order}B{len(corners)}i", len(corners), *corners)
                + b"".join(struct.pack(f"{order}B{len(t)}f", len(t), *t) for t in texture)
                + struct.pack(f"{order}{len(last)}i", *last)
            )
    return "\n".join(head).encode() + b"".join(rows)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "texture",
    [
        ([0, 0, 1, 0, 1, 1], [0, 0, 1, 1, 0, 1]),
        ([0, 0, 1, 0, 1, 1], []),
        ([], [0, 0, 1, 1, 0, 1]),
        ([], []),
        ([0.5] * 6, [0.5] * 4),
    ],
)
def test_triangles_with_texture_coordinates(tmp_path: Path, format: str, texture: tuple) -> None:
    for after, last in (("", []), ("property int texnumber", [7])):
        (tmp_path / "a.ply").write_bytes(
            written(format, [(side, t, last) for side, t in zip(SIDES, texture)], after)
        )
        mesh = read_ply(tmp_path / "a.ply")
        assert (
            np.array_equal(mesh.vertices, POINTS)
            and mesh.triangles.tolist() == SIDES
            and mesh.vertex_color is None
        )
        assert not after or mesh.face["texnumber"].tolist() == [7, 7]


@pytest.mark.parametrize("format", FORMATS)
def test_polygons_and_cut_lists_are_refused_by_row(tmp_path: Path, format: str) -> None:
    (tmp_path / "a.ply").write_bytes(
        written(format, [(SIDES[0], [0, 1], []), ([0, 1, 2, 3], [], [])])
    )
    with pytest.raises(
        SceneError, match=r"element face row 1 vertex_indices: a list of 4, only triangles are read"
    ):
        read_ply(tmp_path / "a.ply")
    whole = written(format, [(SIDES[0], [0] * 6, []), (SIDES[1], [1] * 4, [])])
    body = whole.index(b"end_header") + 11
    for size in range(body, len(whole) - 1, 3):
        (tmp_path / "a.ply").write_bytes(whole[:size])
        with pytest.raises(SceneError, match="announced"):
            read_ply(tmp_path / "a.ply")
    huge = whole.replace(b"list uchar float", b"list uint float")
    (tmp_path / "a.ply").write_bytes(huge)
    with pytest.raises(SceneError) if format != "ascii" else pytest.MonkeyPatch.context():
        read_ply(tmp_path / "a.ply")


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    ("color", "colors", "wanted"),
    [
        ("float", [[1, 0, 0.5]] * 4, [255, 0, 128]),
        ("double", [[0.2, 0.4, 0.6]] * 4, [51, 102, 153]),
        ("float", [[255, 0, 128]] * 4, [255, 0, 128]),
        ("ushort", [[65535, 0, 257 * 9]] * 4, [255, 0, 9]),
        ("uchar", [[255, 0, 9]] * 4, [255, 0, 9]),
        ("ushort", [[255, 0, 9]] * 4, [255, 0, 9]),
        ("float", [[float("nan"), 0, 1]] * 4, [0, 0, 255]),
    ],
)
def test_colors_of_any_type(
    tmp_path: Path, format: str, color: str, colors: list, wanted: list
) -> None:
    (tmp_path / "a.ply").write_bytes(
        written(
            format, [(side, None, []) for side in SIDES], columns="", colors=colors, color=color
        )
    )
    found = read_ply(tmp_path / "a.ply").vertex_color
    assert found is not None and found.dtype == np.uint8 and found.tolist() == [wanted] * 4


@given(st.binary(max_size=60), st.integers(0, 400), st.sampled_from(FORMATS))
@settings(max_examples=300, deadline=None)
def test_a_damaged_mesh_is_one_clear_error_or_a_mesh(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, place: int, format: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.ply"
    data = written(
        format, [(SIDES[0], [0] * 6, [3]), (SIDES[1], [1] * 4, [4])], "property int texnumber"
    )
    path.write_bytes(data[:place] + noise + data[place + len(noise) :])
    try:
        mesh = read_ply(path)
        assert mesh.triangles.shape[1:] == (3,)
    except SceneError as error:
        assert str(path) in str(error)
