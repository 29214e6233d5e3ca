"""From 3D scenes with ground truth to spatial questions, a tuned vision-language model and a report. `import spar_kit as sk` is the front door:

    scene = sk.open_source("synthetic").load("train0000")       # shows itself in 3D
    sk.ask(scene, task="depth_prediction_oc", n=3)              # cards: marked images, question, answer, why
    sk.generate("synthetic", "out"); sk.verify("out"); sk.score("predictions.jsonl")

Each name is imported when it is first used, so the import itself loads no numpy, and none of the names loads torch.
"""
# This file comes from no notebook: nbdev keeps the version here and creates the file without exporting to it, and a notebook that exported it
# would fight with the version over each line. tests/test_front_door.py holds it against the README, and the imports against the table.
__version__ = "0.1.0"
import logging as _logging
import sys as _sys
from importlib import import_module as _import_module

TYPE_CHECKING = False           # what type checkers take for True; `typing` itself would be half of this import's time
if TYPE_CHECKING:
    from spar_kit.bench.benchmarks import open_benchmark as open_benchmark
    from spar_kit.bench.scorers.table import score_file as score
    from spar_kit.data.ask import ask as ask
    from spar_kit.data.generate import generate as generate
    from spar_kit.data.question import Question as Question
    from spar_kit.scenes.scene import Scene as Scene
    from spar_kit.scenes.sources import open_source as open_source
    from spar_kit.tasks.registry import TASKS as TASKS
    from spar_kit.oracle.verify import verify as verify

# where each name is: module and attribute
_PLACES = {
    "open_source": ("spar_kit.scenes.sources", "open_source"),
    "ask": ("spar_kit.data.ask", "ask"),
    "generate": ("spar_kit.data.generate", "generate"),
    "verify": ("spar_kit.oracle.verify", "verify"),
    "open_benchmark": ("spar_kit.bench.benchmarks", "open_benchmark"),
    "score": ("spar_kit.bench.scorers.table", "score_file"),
    "TASKS": ("spar_kit.tasks.registry", "TASKS"),
    "Scene": ("spar_kit.scenes.scene", "Scene"),
    "Question": ("spar_kit.data.question", "Question"),
}
__all__ = ["TASKS", "Question", "Scene", "ask", "generate", "open_benchmark", "open_source", "score", "verify"]

# Where the processor has AVX512-BF16, bitsandbytes asks at its import for a package that would fetch code from a hub, and warns that it is
# absent; its own kernel then does the work. transformers and PEFT import bitsandbytes when they please, so this stands before all of them.
_logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(_logging.ERROR)


def __getattr__(name: str) -> object:
    """A name of the front door, imported now (PEP 562). Raises AttributeError for any other."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    module, attribute = _PLACES[name]
    value: object = getattr(_import_module(module), attribute)
    globals()[name] = value                 # the next time Python finds it without asking here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__} - {"TYPE_CHECKING"})


class _OldPaths:
    """Finds modules that moved by their old path; asked only where nothing else finds them."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> object:
        if not name.startswith("spar_kit.") or name.startswith("spar_kit.core"):
            return None
        return _import_module("spar_kit.core.moved").find_old(name)


_sys.meta_path.append(_OldPaths)  # type: ignore[arg-type]
