"""Modules that moved: the old path gives the same module as the new one, with one warning; nothing
else is different."""

import importlib
import multiprocessing
import subprocess
import sys
import warnings

import pytest

from spar_kit.core.moved import new_name, old_paths

PATHS = old_paths()
FORWARDED = {"spar_kit.tasks.sampling"}  # a package has this name now


def said(*words: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=300)
    return done.returncode, done.stderr


@pytest.mark.parametrize("old", sorted(PATHS.keys() - FORWARDED))
def test_an_old_path_is_the_same_module(old: str) -> None:
    sys.modules.pop(old, None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DeprecationWarning)
        module = importlib.import_module(old)
        importlib.import_module(old)
    new = importlib.import_module(PATHS[old])
    assert module is new and module.__name__ == PATHS[old] and module.__spec__.name == PATHS[old]
    ours = [str(warning.message) for warning in caught if "spar_kit" in str(warning.message)]
    assert ours == [f"{old} is now {PATHS[old]}; the old path goes with the next version"]


def test_the_name_that_a_package_took_over_still_gives_the_functions() -> None:
    from spar_kit.tasks import sampling
    from spar_kit.tasks.sampling import candidates, stratified

    name = candidates.__all__[0]
    with pytest.warns(DeprecationWarning, match=r"spar_kit\.tasks\.sampling\.candidates"):
        assert getattr(sampling, name) is getattr(candidates, name)
    assert stratified.__name__ == "spar_kit.tasks.sampling.stratified"
    with pytest.raises(AttributeError):
        _ = sampling.nothing_of_this_name


def test_forms_of_import_and_where_the_warning_points() -> None:
    for code in (
        "import spar_kit.scenes.toy",
        "from spar_kit.scenes import toy",
        "from spar_kit.scenes.toy import box_room_scene",
    ):
        code = (
            f"{code}\nimport sys; assert sys.modules['spar_kit.scenes.toy'] is"
            " sys.modules['spar_kit.scenes.box_room']"
        )
        returned, error = said("-W", "always", "-c", code)
        assert (
            returned == 0 and error.count("DeprecationWarning") == 1 and "<string>:1:" in error
        ), error
    returned, error = said("-W", "always", "-m", "spar_kit.scenes.toy")
    assert returned == 0 and "spar_kit.scenes.box_room" in error, error


def test_what_never_was_is_not_found() -> None:
    for name in ("spar_kit.scenes.nothing", "spar_kit.nothing.toy", "spar_kit.scenes.toy.nothing"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(ModuleNotFoundError):
                importlib.import_module(name)
    assert (
        new_name("spar_kit.scenes.toy.box_room_scene") == "spar_kit.scenes.box_room.box_room_scene"
    )
    assert (
        new_name("spar_kit.scenes.scene") == "spar_kit.scenes.scene"
        and new_name("numpy.random") == "numpy.random"
    )


def test_a_spawned_process_finds_what_was_imported_by_an_old_path() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        function = importlib.import_module("spar_kit.scenes.files").is_safe_name
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(function, ["a", "../a"]) == [True, False]


def test_importing_the_kit_loads_nothing_else() -> None:
    code = (
        "import sys, spar_kit\nprint(sorted(name for name in sys.modules if name.split('.')[0] in"
        " ('numpy', 'pandas', 'torch', 'spar_kit')), file=sys.stderr)"
    )
    assert said("-c", code) == (0, "['spar_kit']\n")
