"""Exports to lmms-eval and VLMEvalKit, and what comes back from them."""

import ast
import base64
import io
import json
import subprocess
import sys

import numpy as np
import orjson
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from spar_kit.bench.benchmarks import Benchmark
from spar_kit.bench.interop import lmms_eval as le
from spar_kit.bench.interop import vlmeval as ve
from spar_kit.bench.interop.prediction_files import escape_cell, read_prediction_file, unescape_cell
from spar_kit.bench.prompts import BOX_PROMPT, official_prompt
from spar_kit.bench.scorers.strict import score_item
from spar_kit.cli.main import main
from spar_kit.data.question import Question

OPTIONS = (
    "\nA. left, above, closer\nB. right, below, \nC. left, , farther\nD. right, above, closer\nYour"
    " answer can only include one of options A, B, C or D."
)
BOXES = "\nA. [1, 2, 30, 40]\nB. [5, 6, 70, 80]\nYour answer can only include one of options A, B."
HOSTILE = "=HYPERLINK(\"http://x\",'y')\tWhere\r\nis <script>it</script>?"


def pictures(count=1, shade=100):
    plain = np.asarray(Image.linear_gradient("L").convert("RGB").resize((96, 64)), int)
    return [Image.fromarray(((plain + shade * k) % 256).astype(np.uint8)) for k in range(count)]


def item(
    id,
    task="depth_prediction_oc",
    format="fill",
    question="How deep is the lamp?",
    answer="1.5",
    count=1,
):
    return Question(
        id=id,
        task=task,
        format=format,
        source="synthetic",
        scene=f"room{id[-1]}",
        text=question,
        answer=answer,
        images=tuple(pictures(count)),
    )


ITEMS = [
    item("r_0"),
    item("r_1", question=HOSTILE),
    item("r_0", "obj_spatial_relation_oo", "select", f"Where is it?{OPTIONS}", "B"),
    item("r_2", "position_matching", "select", f"=Find it.{BOXES}", "A", 2),
    item("r_3", "view_change_infer", answer="move_right:0.5,rotate_left:30", count=2),
    item("r_4", "obj_spatial_relation_oo", "judge", "Is it left?", "Yes"),
    item("r_5", "distance_prediction_oo_mv", answer="2.0", count=3),
]
BENCH = Benchmark(name="my rooms", items=tuple(ITEMS), official=False)
SAID = [
    "1.4 meters",
    "",
    "The answer is (B).",
    "[1, 2, 30, 40]",
    "move_right:0.6, rotate_left:30",
    "yes",
    "first 3.0, then 2.1",
]


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return le.export_lmms_eval(BENCH, tmp_path_factory.mktemp("tasks"))


# ---------------------------------------------------------------- lmms-eval

ALONE = """
import importlib.abc, importlib.util, json, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "spar_kit": raise ImportError(name)
sys.meta_path.insert(0, Refuse())
spec = importlib.util.spec_from_file_location("utils", sys.argv[1]); utils = importlib.util.module_from_spec(spec); spec.loader.exec_module(utils)
docs, said = json.load(sys.stdin)
out = [utils.process_results(docs[k], [text])["spar_score"].get("score") for k, text in said]
json.dump(out + [utils.mean_of_tasks([utils.process_results(docs[k], [text])["spar_score"] for k, text in said])], sys.stdout)
"""  # noqa: E501


def test_the_exported_scorer_is_the_strict_one_without_the_kit(task):
    words = [
        "",
        "A",
        "(B)",
        "answer: C",
        "The answer is 2.4 m, not 1.2",
        "150 cm",
        "-1.5",
        "1,200",
        "<think>A</think> B",
        "left, above, closer",
        "yes",
        "No.",
        "[1, 2, 30, 40]",
        "move_right: 0.5, rotate_left: 28",
        "<script>alert(1)</script>",
        "9" * 400,
        "\u2028１.５",
        "three",
        "right, below,",
        "A chair",
        "{'a': 1}",
        "red point",
        "1.5e3",
        "nan",
        "\x00",
    ]
    words += [f"{a} {b}" for a in words[:12] for b in words[3:15]] + [
        f"about {v / 10:.1f} meters" for v in range(40)
    ]
    docs = [
        {
            "question": i.text,
            **{
                name: getattr(i, name)
                for name in ("id", "task", "format", "level", "source", "scene", "answer")
            },
        }
        for i in ITEMS
    ]
    said = [(k, text) for k in range(len(docs)) for text in words]
    ran = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, str(task / "utils.py")],
        input=json.dumps([docs, said]),
        capture_output=True,
        text=True,
        check=True,
    )
    want = [
        score_item(ITEMS[k].task, ITEMS[k].answer, text, ITEMS[k].format, ITEMS[k].text).value
        for k, text in said
    ]
    *got, mean = json.loads(ran.stdout)
    assert got == want and len(want) > 1400 and {0.0, 1.0} < set(want)
    table = pd.DataFrame({"task": [ITEMS[k].task for k, _ in said], "score": want})
    assert mean == pytest.approx(table.groupby("task").score.mean().mean())


def test_the_exported_scorer_leaves_out_what_a_server_did_not_answer(task):
    utils = load_utils(task)
    doc = pq.read_table(task / "data/test.parquet").to_pylist()[0]
    found = utils["process_results"](
        doc, ["[LMMS_EVAL_REQUEST_FAILED after 2 retries] Connection error."]
    )
    assert found.keys() == {"spar_score"} and "score" not in found["spar_score"]
    right = utils["process_results"](doc, [doc["answer"]])
    assert utils["mean_of_tasks"]([found["spar_score"], right["spar_score"]]) == 1


def test_the_task_folder_moves_and_says_what_it_measures(task):
    text = (task / f"{task.name}.yaml").read_text()
    config = yaml.safe_load(text.replace("!function ", ""))
    assert task.name == config["task"] == "spar_kit_my_rooms" and config["dataset_kwargs"][
        "data_files"
    ] == {"test": "data/test.parquet"}
    assert config["generation_kwargs"] == {
        "max_new_tokens": 100,
        "temperature": 0,
        "top_p": 1.0,
        "num_beams": 1,
        "do_sample": False,
    }
    assert [m["metric"] for m in config["metric_list"]] == [
        "spar_score",
        "spar_low",
        "spar_medium",
        "spar_high",
        *dict.fromkeys(i.task for i in ITEMS),
    ]
    defined = {
        node.name
        for node in ast.parse((task / "utils.py").read_text()).body
        if isinstance(node, ast.FunctionDef)
    }
    assert {name.split(".")[1] for name in text.split() if name.startswith("utils.")} <= defined
    assert str(task.parent) not in text + (task / "utils.py").read_text() and not list(
        task.rglob("*.partial")
    )


def test_the_data_hold_marked_images_and_the_official_prompt(task):
    table = pq.read_table(task / "data/test.parquet")
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert (
        features["images"] == {"feature": {"_type": "Image"}, "_type": "Sequence"}
        and list(features) == table.column_names
    )
    docs = table.to_pylist()
    assert [doc["prompt"] for doc in docs] == [official_prompt(i) for i in ITEMS] and [
        len(doc["images"]) for doc in docs
    ] == [len(i.images) for i in ITEMS]
    shown = np.asarray(Image.open(io.BytesIO(docs[6]["images"][2]["bytes"])), int)
    assert abs(shown - np.asarray(pictures(3)[2], int)).max() < 40 and shown.shape == (64, 96, 3)


def test_lossless_images_are_lossless(tmp_path):
    folder = le.export_lmms_eval(BENCH, tmp_path, "../../a b", items=ITEMS[:1], image_format="png")
    assert folder == tmp_path / "a_b" and folder.is_dir()
    data = pq.read_table(folder / "data/test.parquet").to_pylist()[0]["images"][0]
    assert (
        np.asarray(Image.open(io.BytesIO(data["bytes"]))) == np.asarray(pictures()[0])
    ).all() and data["path"] == "0.png"


def test_an_unreadable_image_leaves_what_was_there(tmp_path):
    def broken():
        raise OSError("room/3.jpg: the image is missing")

    le.export_lmms_eval(BENCH, tmp_path, "t")
    ve.export_vlmeval(BENCH, tmp_path, "t")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    bad = Benchmark(
        name="b",
        items=(
            ITEMS[0],
            Question(
                id="9",
                task="depth_prediction_oc",
                format="fill",
                scene="",
                text="How deep?",
                answer="1",
                images=(broken,),
            ),
        ),
        official=False,
    )
    for export in (le.export_lmms_eval, ve.export_vlmeval):
        with pytest.raises(OSError, match="room/3.jpg"):
            export(bad, tmp_path, "t")
        with pytest.raises(ValueError, match="no questions"):
            export(bad, tmp_path, "t", items=[])
        with pytest.raises(ValueError, match="no letter or digit"):
            export(BENCH, tmp_path, "../..")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


def written_by_lmms_eval(folder, task, docs, *, said, when, utils):
    """The lines that lmms-eval 0.7.3 writes for these answers (its evaluation tracker leaves `doc`
    and equal `resps` out)."""
    lines = []
    for k, (doc, text) in enumerate(zip(docs, said)):
        metrics = utils["process_results"](doc, [text])
        lines.append(
            {
                "doc_id": k,
                "target": doc["answer"],
                "filtered_resps": text,
                "token_counts": [None],
                "doc_hash": "0",
                **metrics,
                "input": doc["prompt"],
            }
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{when}_samples_{task}.jsonl").write_text(
        "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8"
    )


def load_utils(task):
    space = {"__name__": "exported_utils"}
    # dataclasses look their module up
    sys.modules["exported_utils"] = type(sys)("exported_utils")
    exec(compile((task / "utils.py").read_text(), "utils.py", "exec"), space)
    return space


def test_what_lmms_eval_logs_comes_back_as_the_same_rows(task, tmp_path):
    docs = pq.read_table(task / "data/test.parquet").to_pylist()
    utils = load_utils(task)
    written_by_lmms_eval(
        tmp_path / "m", task.name, docs, said=["old"] * 7, when="20260101_000000", utils=utils
    )
    written_by_lmms_eval(
        tmp_path / "m", task.name, docs, said=SAID, when="20261122_210000", utils=utils
    )
    numbers = {
        "alias": "x",
        "spar_score,none": 0.5,
        "spar_score_stderr,none": "N/A",
        "depth_prediction_oc,none": 0.4,
        "depth_prediction_oc_stderr,none": 0.1,
        "depth_prediction_oc_stderr_clt,none": 0.2,
    }
    (tmp_path / "m/20261122_210000_results.json").write_text(
        json.dumps(
            {
                "results": {
                    task.name: numbers,
                    "cv_bench": {"acc,none": 0.6, "empty,none": float("nan")},
                }
            }
        )
    )
    (tmp_path / "m/20261122_210000_samples_cv_bench.jsonl").write_text(
        json.dumps(
            {
                "doc_id": 0,
                "target": "(A)",
                "filtered_resps": "(A)",
                "acc": {"task": "Count", "answer": "A"},
            }
        )
        + "\n"
    )
    logs = le.read_logs(tmp_path, BENCH)
    want = [
        {
            "id": i.id,
            "task": i.task,
            "format": i.format,
            "source": i.source,
            "scene": i.scene,
            "question": i.text,
            "answer": i.answer,
            "prediction": s,
        }
        for i, s in zip(ITEMS, SAID)
    ]
    assert logs.rows == {task.name: want} and le.read_logs(tmp_path).rows == {task.name: want}
    assert logs.results.values.tolist()[1] == [
        task.name,
        "depth_prediction_oc",
        0.4,
        0.1,
    ] and logs.results.task.tolist() == [task.name, task.name, "cv_bench", "cv_bench"]
    assert np.isnan(logs.results.stderr[0]) and np.isnan(logs.results.value[3])
    (path,) = le.write_rows(logs, tmp_path / "out")
    assert [orjson.loads(line) for line in path.read_bytes().splitlines()] == want


def test_logs_that_are_none(tmp_path):
    with pytest.raises(ValueError, match="no samples and no results"):
        le.read_logs(tmp_path)
    (tmp_path / "1_results.json").write_text('{"results": [1')
    with pytest.raises(ValueError, match="1_results.json: not a results file"):
        le.read_logs(tmp_path)
    good = {
        "doc_id": 0,
        "target": "1",
        "filtered_resps": "1",
        "doc": {"id": 1, "task": "depth_prediction_oc", "answer": "1"},
    }
    (tmp_path / "20261122_220000_samples_x.jsonl").write_text(
        "\n".join(map(json.dumps, [good, {**good, "doc": {**good["doc"], "task": "cook"}}]))
    )
    # not another benchmark: a broken file
    with pytest.raises(ValueError, match="samples_x.jsonl:2: unknown task 'cook'"):
        le.read_logs(tmp_path)


def test_the_command():
    command = le.build_command(
        "Qwen/Qwen2.5-VL-7B-Instruct",
        "vsibench, cv_bench",
        "out",
        limit=5,
        arguments="attn_implementation=sdpa",
        python="py",
    )
    assert command == [
        "py",
        "-m",
        "lmms_eval",
        "--model",
        "qwen2_5_vl",
        "--model_args",
        "pretrained=Qwen/Qwen2.5-VL-7B-Instruct,attn_implementation=sdpa",
        "--tasks",
        "vsibench,cv_bench",
        "--batch_size",
        "1",
        "--log_samples",
        "--output_path",
        "out",
        "--limit",
        "5",
    ]
    for kind, name in (("vllm", "model=m"), ("openai", "model=m"), ("internvl_hf", "pretrained=m")):
        assert le.build_command("m", "vsibench", "out", kind=kind)[6] == name
    for model, tasks in (
        ("m", "--help"),
        ("m", "a;rm -rf /"),
        ("m", ""),
        ("a,b=c", "vsibench"),
        ("a b", "vsibench"),
        ("", "vsibench"),
    ):
        with pytest.raises(ValueError, match="lmms-eval"):
            le.build_command(model, tasks, "out")


def test_the_class_is_read_from_the_models_own_config(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "internvl"}')
    assert (
        le.model_class(str(tmp_path)) == "internvl_hf"
        and le.model_class("org/other") == "huggingface"
        and le.model_class("Qwen/Qwen3-VL-8B") == "qwen3_vl"
    )


FAKE = """
import json, pathlib, sys
given = dict(zip(sys.argv[1::2], sys.argv[2::2])) if "--log_samples" not in sys.argv else {}
args = sys.argv[1:]; out = pathlib.Path(args[args.index("--output_path") + 1]) / "model"; out.mkdir(parents=True, exist_ok=True)
tasks = args[args.index("--tasks") + 1]
if tasks == "broken": sys.exit(3)
if tasks == "silent": sys.exit(0)
doc = {"id": 4, "task": "depth_prediction_oc", "format_type": "fill", "question": "How deep?", "answer": "2.0", "source": "scannet"}
(out / "20261122_220000_samples_sparbench_tiny.jsonl").write_text(json.dumps({"doc_id": 0, "target": "2.0", "filtered_resps": "2.0", "sparbench_score": doc}) + "\\n")
(out / "20261122_220000_results.json").write_text(json.dumps({"results": {"sparbench_tiny": {"sparbench_score,none": 100.0}}, "model": args[args.index("--model_args") + 1]}))
"""  # noqa: E501


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """A stand-in for lmms-eval: a module of that name that writes logs."""
    (tmp_path / "bin/lmms_eval").mkdir(parents=True)
    (tmp_path / "bin/lmms_eval/__init__.py").write_text("")
    (tmp_path / "bin/lmms_eval/__main__.py").write_text(FAKE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "bin"))


def test_it_is_run_and_its_logs_are_scored(tool, tmp_path, capsys):
    with pytest.raises(SystemExit) as leaving:
        main(
            [
                "evaluate",
                "org/model",
                "--lmms-eval",
                "sparbench_tiny",
                "--out",
                str(tmp_path / "run"),
            ]
        )
    printed = capsys.readouterr().out
    assert (
        leaving.value.code == 0
        and "--model huggingface --model_args pretrained=org/model --tasks sparbench_tiny"
        in printed
    )
    assert "sparbench_tiny  sparbench_score  100" in printed
    row = orjson.loads((tmp_path / "run/predictions_sparbench_tiny.jsonl").read_bytes())
    assert (row["id"], row["task"], row["prediction"], row["source"]) == (
        "4",
        "depth_prediction_oc",
        "2.0",
        "scannet",
    )
    assert (tmp_path / "run/predictions_sparbench_tiny.items.jsonl").exists()
    # exit code 0 after an error: yesterday's logs are not today's
    with pytest.raises(ValueError, match="wrote no results"):
        le.run_lmms_eval("org/model", "silent", tmp_path / "run")


@pytest.mark.parametrize(
    "words, says",
    [
        (["--lmms-eval", "broken"], "lmms-eval ended with exit code 3"),
        (["--lmms-eval", "x", "--data", "."], "--lmms-eval takes the place of"),
        (
            ["--lmms-eval", "x", "--set", "speed=9"],
            (
                "'speed=9' is no setting of lmms-eval; there are arguments, batch, include, kind,"
                " python"
            ),
        ),
        (["--lmms-eval", "x", "--set", "batch=many"], "expected a number"),
        (["--set", "a=1", "--data", "."], "--set and --dry-run go with"),
        (
            ["--api", "http://127.0.0.1:9/v1", "--data", ".", "--set", "speed=9"],
            "no spar/<source>/qa_jsonl|no setting of a server",
        ),
    ],
)
def test_mistakes_are_one_line(tool, tmp_path, capfd, words, says):
    with pytest.raises(SystemExit) as leaving:
        main(["evaluate", "org/model", "--out", str(tmp_path / "run"), *words])
    error = capfd.readouterr().err.strip()
    assert (
        leaving.value.code == 2
        and pd.Series([error]).str.contains(says)[0]
        and error.startswith("spar: ")
        and "\n" not in error
    )


def test_without_lmms_eval_it_says_what_to_type(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with pytest.raises(ValueError, match="pip install lmms_eval 'filelock<4'"):
        le.run_lmms_eval("org/model", "vsibench", tmp_path)


def test_a_model_behind_a_server_is_asked_there_and_its_key_is_in_no_command(
    tool, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-0123")
    with pytest.raises(SystemExit) as leaving:
        main(
            [
                "evaluate",
                "served",
                "--lmms-eval",
                "vsibench",
                "--api",
                "http://127.0.0.1:9/v1",
                "--set",
                "arguments=num_concurrent=2",
                "--out",
                str(tmp_path / "run"),
                "--dry-run",
            ]
        )
    printed = capsys.readouterr().out
    assert (
        leaving.value.code == 0
        and "--model openai --model_args model=served,base_url=http://127.0.0.1:9/v1,num_concurrent=2 --tasks vsibench"  # noqa: E501
        in printed
    )
    assert "sk-secret" not in printed
    said = []
    le.run_lmms_eval(
        "gpt-x", "vsibench", tmp_path / "run", url="openai", dry_run=True, say=said.append
    )
    assert "--model_args model=gpt-x --tasks" in said[0]
    for options, says in (
        ({"adapter": tmp_path}, "leave --adapter out"),
        ({"url": "http://x/v1,y=1"}, "is no address"),
    ):
        with pytest.raises(ValueError, match=says):
            le.run_lmms_eval(
                "m", "vsibench", tmp_path, **{"url": "http://x/v1", **options}, dry_run=True
            )


def test_a_class_that_cannot_run_is_refused_before_the_model_is_loaded(tool, tmp_path):
    general = tmp_path / "bin/lmms_eval/models/chat/huggingface.py"
    general.parent.mkdir(parents=True)
    general.write_text(
        '            kwargs = {"images": images, "videos": videos, "audios": audios}\n'
    )
    with pytest.raises(ValueError, match="cannot run with transformers 5.*--api URL"):
        le.run_lmms_eval("org/model", "sparbench_tiny", tmp_path / "run")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "somewhere/base"}')
    (adapter / "spar_kit.json").write_text('{"base": "../base"}')
    with pytest.raises(ValueError, match="cannot run with transformers 5"):
        le.run_lmms_eval(str(adapter), "sparbench_tiny", tmp_path / "run")
    assert not (tmp_path / "run").exists()
    (tmp_path / "base").mkdir()
    # an adapter is run by its base's class
    (tmp_path / "base/config.json").write_text('{"model_type": "qwen2_5_vl"}')
    said = []
    le.run_lmms_eval(
        str(adapter), "sparbench_tiny", tmp_path / "run", dry_run=True, say=said.append
    )
    assert f"--model qwen2_5_vl --model_args pretrained={tmp_path}/run/merged " in said[0]
    # has a class of its own
    assert le.run_lmms_eval("Qwen/Qwen2.5-VL-7B-Instruct", "sparbench_tiny", tmp_path / "run").rows
    general.write_text("fixed")
    assert le.run_lmms_eval("org/model", "sparbench_tiny", tmp_path / "again").rows


def test_an_adapter_is_merged_once_and_only_with_its_own_base(tmp_path, monkeypatch):
    from spar_kit.train import lora as qlora

    adapter = tmp_path / "adapter"
    merged = []
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    with pytest.raises(ValueError, match="was trained on org/base, not on org/other"):
        le.merged_checkpoint("org/other", adapter, tmp_path / "out")
    with pytest.raises(ValueError, match="not an adapter of `spar train`"):
        le.merged_checkpoint(str(adapter), None, tmp_path / "out")
    with pytest.raises(ValueError, match="has no adapter_config.json"):
        le.merged_checkpoint("org/base", tmp_path / "out", tmp_path / "out")
    (adapter / "spar_kit.json").write_text('{"base": "org/base"}')
    monkeypatch.setattr("spar_kit.train.models.read_metadata", lambda folder: {"base": "org/base"})
    monkeypatch.setattr(
        qlora,
        "merge_adapter",
        lambda folder, out: (merged.append(folder), out.mkdir(parents=True, exist_ok=True)),
    )
    for model, given in ((str(adapter), None), ("org/base", adapter)):
        assert le.merged_checkpoint(model, given, tmp_path / "out") == str(tmp_path / "out/merged")
    assert (
        merged == [adapter]
        and le.merged_checkpoint("org/plain", None, tmp_path / "out") == "org/plain"
    )


# ---------------------------------------------------------------- VLMEvalKit


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return ve.export_vlmeval(BENCH, tmp_path_factory.mktemp("LMUData"))


def test_two_tables_with_the_columns_that_the_kit_knows(tables):
    assert tables.counts == {"spar_kit_my_rooms_MCQ": 2, "spar_kit_my_rooms_VQA": 5}
    # as VLMEvalKit reads them
    closed, open_ = (pd.read_csv(tables.folder / f"{name}.tsv", sep="\t") for name in tables.counts)
    assert closed.columns.tolist()[:8] == [
        "index",
        "image",
        "question",
        "A",
        "B",
        "C",
        "D",
        "hint",
    ] and not {"A", "B"} & set(open_.columns)
    first, second = closed.to_dict("records")
    assert (first["question"], first["A"], first["B"], first["answer"], first["category"]) == (
        "Where is it?",
        "left, above, closer",
        "right, below,",
        "B",
        "obj_spatial_relation_oo",
    )
    assert (
        second["hint"] == BOX_PROMPT
        and np.isnan(second["C"])
        and np.isnan(first["hint"])
        and second["question"] == " =Find it."
    )
    assert open_.question.tolist()[0] == official_prompt(ITEMS[0]) and open_[
        "index"
    ].tolist() == list(range(5))
    assert closed.index.is_unique and not list(tables.folder.glob("*.partial"))


def test_image_cells_hold_base64_and_nothing_else(tables):
    """VLMEvalKit evaluates a cell that begins with a bracket as Python."""
    for name in tables.counts:
        frame = pd.read_csv(tables.folder / f"{name}.tsv", sep="\t")
        for cell, id, task in zip(frame.image, frame.id, frame.task):
            images = ast.literal_eval(cell) if cell.startswith("[") else [cell]
            item = next(i for i in ITEMS if (i.id, i.task) == (id, task))
            assert len(images) == len(item.images) and len(cell) > 64
            assert [
                Image.open(io.BytesIO(base64.b64decode(image, validate=True))).size
                for image in images
            ] == [(96, 64)] * len(item.images)


@pytest.mark.parametrize("kind", ["tsv", "xlsx", "json", "csv"])
def test_a_sheet_of_the_kit_comes_back_as_the_same_rows(tables, tmp_path, kind):
    back = {}
    for name in tables.counts:
        frame = pd.read_csv(tables.folder / f"{name}.tsv", sep="\t")
        said = [
            SAID[next(k for k, i in enumerate(ITEMS) if (i.id, i.task) == pair)]
            for pair in zip(frame.id, frame.task)
        ]
        frame = frame.drop(columns="image").assign(prediction=said)
        path = tmp_path / f"m_{name}.{kind}"
        if kind == "xlsx":
            frame.to_excel(path, index=False)
        elif kind == "json":
            path.write_text(json.dumps(frame.to_dict("records"), indent=4))
        else:
            frame.to_csv(path, sep="\t" if kind == "tsv" else ",", index=False, quoting=1)
        found = read_prediction_file(path, BENCH if kind == "csv" else None)
        back |= {(row["id"], row["task"]): row for row in found.rows if not row.get("failed")}
        assert found.kind == "sheet"
    # a workbook's lines end in one way
    lost = (lambda text: text.replace("\r", "")) if kind == "xlsx" else str
    for i, s in zip(ITEMS, SAID):
        row = back[i.id, i.task]
        assert {name: row[name] for name in ("format", "source", "scene")} == {
            "format": i.format,
            "source": i.source,
            "scene": i.scene,
        }
        assert (
            lost(row["question"]) == lost(i.text)
            and row["prediction"] == s
            and (row["answer"] == i.answer or float(row["answer"]) == float(i.answer))
        )
    assert len(back) == len(ITEMS)


def test_no_cell_of_ours_is_a_formula(tables):
    for name in tables.counts:
        frame = pd.read_csv(
            tables.folder / f"{name}.tsv", sep="\t", dtype=str, keep_default_na=False
        )
        for column in frame.columns.drop("image"):
            assert not frame[column].str.match(r"[=+@\t\r]|-(?!\d+(\.\d+)?$)").any(), column


def test_guarding_loses_nothing():
    alphabet = ["=", "+", "-", "@", " ", "\t", "1", "a", ".", ""]
    texts = {
        "".join(parts)
        for a in alphabet
        for b in alphabet
        for c in alphabet
        for d in alphabet
        for parts in [(a, b, c, d)]
    }
    assert all(unescape_cell(escape_cell(text)) == text for text in texts) and len(
        {escape_cell(text) for text in texts}
    ) == len(texts)


@pytest.mark.parametrize(
    "question, answer",
    [
        (f"Where?{OPTIONS}", "E"),
        (f"Where?{OPTIONS}", ""),
        ("Where?\nA. left", "A"),
        ("Where?\nB. left\nA. right", "A"),
        ("Where?\nA. \nB. right", "B"),
    ],
)
def test_what_is_not_plainly_multiple_choice_is_asked_whole(question, answer):
    assert (
        ve.split_options(item("r_0", "obj_spatial_relation_oo", "select", question, answer)) is None
    )


# ---------------------------------------------------------------- the command line


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """A folder as `spar generate` writes it: four questions."""
    root = tmp_path_factory.mktemp("data")
    for format, question, answer in (
        ("fill", "The chair (red point) is 1.0 m deep. How deep is the lamp (blue point)?", "1.5"),
        ("select", f"How deep is the lamp (blue point)?{OPTIONS}", "B"),
    ):
        folder = root / f"spar/synthetic/qa_jsonl/val/depth_prediction_oc/{format}"
        folder.mkdir(parents=True)
        image = "room0/image_color/0.jpg"
        (root / "spar/synthetic/images/room0/image_color").mkdir(parents=True, exist_ok=True)
        pictures()[0].save(root / "spar/synthetic/images" / image)
        record = {
            "type": "depth_prediction_oc",
            "image": [image],
            "red_point": [[100, 500]],
            "blue_point": [[700, 300]],
            "conversations": [
                {"from": "human", "value": question},
                {"from": "gpt", "value": answer},
            ],
        }
        (folder / f"{format}_2.jsonl").write_bytes(
            b"".join(orjson.dumps({"id": f"room0_{k}", **record}) + b"\n" for k in range(2))
        )
    return root


def test_spar_export(generated, tmp_path, capsys):
    for to, out in (("lmms-eval", "tasks"), ("vlmeval", "tables")):
        with pytest.raises(SystemExit) as leaving:
            main(
                [
                    "export",
                    str(generated),
                    "--to",
                    to,
                    "--out",
                    str(tmp_path / out),
                    "--name",
                    "mine",
                    "--limit",
                    "1",
                ]
            )
        assert leaving.value.code == 0
    printed = capsys.readouterr().out
    assert (
        "2 questions: " in printed
        and "--tasks mine" in printed
        and "mine_MCQ.tsv: 1 questions" in printed
    )
    docs = pq.read_table(tmp_path / "tasks/mine/data/test.parquet").to_pylist()
    marked = np.asarray(Image.open(io.BytesIO(docs[0]["images"][0]["bytes"])), int)
    plain = np.asarray(pictures()[0], int)
    # the markers are in the picture
    assert len(docs) == 2 and abs(marked - plain).max() > 100
