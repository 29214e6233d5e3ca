"""Other people's scorers, loaded from the files they released, and predictions to compare with.
Nothing of theirs is kept in this repository.

SPAR_OFFICIAL_UTILS  lmms_eval/tasks/sparbench/utils.py out of `pip download --no-deps lmms_eval`
SPAR_EASI_FOLDER     the folder that holds vlmeval/ out of `pip download --no-deps ms-vlmeval`
"""

import functools
import hashlib
import importlib.util
import random
import shutil
import struct
import sys
import tempfile
import types
from pathlib import Path


class _Silent(types.ModuleType):
    """A module that has everything and does nothing."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Silent(name)

    def __call__(self, *args, **kwargs):
        return _Silent("called")


def _load(name, path, stubs):
    before = {stub: sys.modules.get(stub) for stub in stubs}
    sys.modules.update(stubs)
    try:
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        module.__package__ = name.rpartition(".")[0]
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module
    finally:
        for stub, module in before.items():
            sys.modules.pop(stub) if module is None else sys.modules.update({stub: module})


def official(path):
    """The authors' module. In lmms-eval 0.7.3 it lost its `from functools import partial`, which
    its `eval` needs: every number scores 0 there."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(path, f"{folder}/utils.py")
        # it reads its neighbor
        Path(folder, "_default_template_yaml").write_text("dataset_kwargs:\n  cache_dir: unused\n")
        module = _load(
            "official_sparbench",
            Path(folder, "utils.py"),
            {name: _Silent(name) for name in ("datasets", "loguru")},
        )
    module.partial = functools.partial
    return module


def easi(folder):
    """VLMEvalKit's SparBench class and its score functions for choices and for numbers."""
    folder = Path(folder) / "vlmeval"
    words = (
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
        " fifteen sixteen seventeen eighteen nineteen twenty".split()
    )
    num2words = types.ModuleType("num2words")
    num2words.num2words = lambda number, lang: words[number]
    here = folder / "dataset/utils/spatial_bench"
    matching = _load(
        "peer.dataset.utils.spatial_bench.matching_func",
        here / "matching_func.py",
        {"num2words": num2words},
    )
    names = (
        "vlmeval",
        "vlmeval.smp",
        "vlmeval.smp.file",
        "vlmeval.smp.vlm",
        "peer",
        "peer.dataset",
        "peer.dataset.utils",
        "peer.dataset.utils.judge_util",
        "peer.dataset.utils.spatial_bench",
        "peer.dataset.utils.spatial_bench.llm_extract",
        "peer.dataset.utils.spatial_bench.tools",
        "peer.dataset.utils.spatial_bench.tools.files",
    )
    stubs = {name: _Silent(name) for name in names}
    scores = _load(
        "peer.dataset.utils.spatial_bench.cal_scores",
        here / "cal_scores.py",
        {**stubs, matching.__name__: matching},
    )
    base = types.ModuleType("peer.dataset.image_base")
    base.ImageBaseDataset = object
    bench = _load(
        "peer.dataset.sparbench",
        folder / "dataset/sparbench.py",
        {**stubs, scores.__name__: scores, base.__name__: base},
    )
    return bench.SparBench, scores


AXES = (
    "move_right",
    "move_left",
    "move_up",
    "move_down",
    "move_forward",
    "move_backward",
    "rotate_right",
    "rotate_left",
    "rotate_up",
    "rotate_down",
)
PIECES = [
    "A",
    "B",
    "C",
    "D",
    "E",
    "F",
    "J",
    "a",
    "b",
    "c",
    "d",
    "(A)",
    "(b)",
    "[C]",
    "**D**",
    "{B}",
    "（A）",
    "【C】",
    "`B`",
    "A.",
    "B)",
    "C:",
    "D、",
    "A ",
    " B",
    "\nC",
    "\n",
    "\n\n",
    " ",
    "  ",
    "\t",
    "Answer: ",
    "answer is ",
    "the answer is ",
    "Final answer: ",
    "final  answer",
    "correct answer",
    "答案",
    "答案是",
    "我选择",
    "选",
    "所以",
    "Option A: ",
    "- option B: ",
    "选项 C：",
    "<answer>",
    "</answer>",
    "< answer >",
    "</ answer >",
    "<answer type='x'>",
    "<ANSWER>",
    "<anſwer>",
    "<think>",
    "</think>",
    "< / think >",
    "< think >",
    "</ think >",
    "<",
    ">",
    "/",
    "Because",
    "Cannot",
    "chair",
    "A chair",
    "and",
    "or",
    "not",
    "1",
    "2",
    "1.5",
    "0",
    "0.0",
    "-1.5",
    "+2",
    ".5",
    "5.",
    "1e3",
    "1e-1",
    "1E400",
    "1e",
    "^2",
    "2^3.5",
    "m^2",
    "1,500",
    "1.2.3",
    "９",
    "٣",
    "½",
    "three",
    "Twenty",
    "twenty-one",
    "six",
    "ſix",
    "seventeen",
    "[",
    "]",
    "[1.5, 2]",
    "['B']",
    "[[1]]",
    "[]",
    "[1+2j]",
    "[about 2]",
    "{'a': 1}",
    "meters",
    "m",
    "cm",
    "150 cm",
    ":",
    ",",
    ", ",
    ":0.5",
    ": 0.5",
    ":x",
    "=",
    "nan",
    "inf",
    "-inf",
    "1_0",
    "infinity",
    "None",
    "nan",
    "\x00",
    "\u200b",
    "\ufeff",
    "\u202e",
    "\x1c",
    "\u2028",
    "\x85",
    "İ",
    "ı",
    "K",
    "ß",
    "é",
    "中",
    "<script>alert(1)</script>",
    "&lt;",
    '"',
    "'",
    "*",
    "_",
    "_B_",
    "x_B",
    "3D",
    "*A*)",
    "A*B",
    "option",
    "-",
    "move_back:0.4",
    *(f"{axis}:{value}" for axis in AXES for value in ("0", "0.4", "30")),
]


def _movement(draw):
    said = [
        f"{draw.choice(pair)}:{draw.choice(['0', '0.2', '0.4', '0.6', '1.0', '1.8', '5', '10', '30', '135', '-0.2', '1e1', 'nan', ' 0.4', '0.20001'])}"  # noqa: E501
        for pair in zip(AXES[::2], AXES[1::2])
    ]
    return draw.choice([",", ",", ",", ", ", ", ,", "\n"]).join(
        draw.sample(said, draw.randint(0, 5)) if draw.random() < 0.5 else said
    )


def prediction(draw, kind, answer):
    """One prediction: often near the answer, else anything."""
    way = draw.random()
    if way < 0.06:
        return draw.choice(
            [
                "",
                answer,
                " " + answer,
                answer + "\n",
                answer.lower(),
                f"<answer>{answer}</answer>",
                f"<think>B 3</think>{answer}",
            ]
        )
    if way < 0.45 and kind == "number":
        number = f"{draw.uniform(0, 8):.{draw.randint(0, 3)}f}"
        return draw.choice(
            [
                "{}",
                "{} meters",
                "-{}",
                "about {}, maybe 1.5",
                "It is {}.",
                "{}m",
                "<answer>{} m</answer>",
                "9 then {}",
                "{}e1",
                "[{}, 1]",
            ]
        ).format(number)
    if way < 0.45 and kind == "choice":
        return draw.choice(
            [
                "{}",
                "({})",
                "{}.",
                "{}. left, above",
                "The answer is {}",
                "Answer: {}",
                "**{}**",
                "{}\n{}",
                "Because of this, {}",
                "x\n{}",
                "option {}: y",
            ]
        ).replace("{}", draw.choice("ABCDEFabcd"))
    if way < 0.7 and kind == "movement":
        return _movement(draw)
    if way < 0.72:
        return draw.choice(PIECES) * draw.choice([10, 100, 400])
    if way < 0.75:
        return "".join(
            chr(
                draw.choice(
                    [draw.randint(0, 127), draw.randint(0, 0x2FFF), draw.randint(0x1F300, 0x1F600)]
                )
            )
            for _ in range(draw.randint(0, 40))
        )
    return draw.choice(["", " ", "", ""]).join(
        draw.choice(PIECES) for _ in range(draw.randint(0, 12))
    )


def answer(draw, kind):
    """One true answer, in one case of fifty an odd one."""
    if draw.random() < 0.02:
        return draw.choice(
            ["", "x", "-1.0", "nan", "B. left", "Yes", "inf", "move_up", "[1]", "1,5"]
        )
    if kind == "choice":
        return draw.choice("ABCD")
    if kind == "number":
        return f"{draw.uniform(0, 7):.1f}"
    return draw.choice(
        [
            _movement(draw),
            ",".join(
                f"{draw.choice(pair)}:{draw.choice(['0', '0.2', '0.6', '1.0', '15', '90'])}"
                for pair in zip(AXES[::2], AXES[1::2])
            ),
        ]
    )


def digest(scores):
    """The bits of scores, as one name."""
    return hashlib.sha256(b"".join(struct.pack("<d", score) for score in scores)).hexdigest()[:16]


def rows(kinds, count, seed=0):
    """`count` (task, answer, prediction), all tasks of `kinds` {task: kind} in turn."""
    draw = random.Random(seed)
    tasks = list(kinds)
    for k in range(count):
        task = tasks[k % len(tasks)]
        true = answer(draw, kinds[task])
        yield task, true, prediction(draw, kinds[task], true)
