"""A local model's predictions: which questions, lines on disk, resuming at the item, failures,
blind views, what a model is loaded with."""

import sys
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from exporters import hub
from PIL import Image

from spar_kit.bench.benchmarks import open_benchmark
from spar_kit.bench.models import local as p
from spar_kit.bench.predictions import PredictionWriter
from spar_kit.bench.prompts import BLANK_COLOR, LETTER_PROMPT, NUMBER_PROMPT
from spar_kit.bench.scorers.table import score_file
from spar_kit.cli.main import main
from spar_kit.data.question import Question
from spar_kit.train.config import SmallVLMConfig, TextConfig, VisionConfig
from spar_kit.train.models import (
    build_model,
    build_processor,
    linear_counts,
    load_model,
    save_model,
    train_tokenizer,
)

OPTIONS = dict(batch=4, max_new_tokens=4, progress=False)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten generated questions of three rooms, an untrained model, and a Parquet file of four
    questions."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("home")
    folder = root / "data/spar/synthetic/qa_jsonl/val/depth_prediction_oc/fill"
    folder.mkdir(parents=True)
    lines = []
    for k in range(10):
        image = f"room{k % 3}/image_color/0.jpg"
        path = root / "data/spar/synthetic/images" / image
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (80, 60), (20 * k, 90, 120)).save(path)
        says = [
            {
                "from": "human",
                "value": (
                    f"The chair (red point) is {k}.0 m deep. How deep is the lamp (blue point)?"
                ),
            },
            {"from": "gpt", "value": f"{k}.5"},
        ]
        lines.append(
            orjson.dumps(
                {
                    "id": f"room{k % 3}_{k}",
                    "type": "depth_prediction_oc",
                    "image": [image],
                    "red_point": [[100 + k, 500]],
                    "blue_point": [[700, 300]],
                    "conversations": says,
                }
            )
        )
    (folder / "fill_10.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    spec = SmallVLMConfig(
        vision_config=VisionConfig(
            image_size=48, patch_size=12, hidden_size=32, num_hidden_layers=1, num_attention_heads=2
        ),
        text_config=TextConfig(
            hidden_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=420
        ),
    )
    processor = build_processor(
        spec, train_tokenizer([line.decode() for line in lines], spec.text_config.vocab_size)
    )
    save_model(
        build_model(spec, processor), processor, root / "model", image_size=48, marker_scale=2.0
    )
    rows = [
        dict(
            id=k,
            img_type="single_view",
            format_type=form,
            task=task,
            source="scannet",
            question=f"Question {k}?",
            answer=answer,
            image=[
                hub.encoded(Image.new("RGB", (64, 48), (60 * k + 9, 80, 10 * i)), "0.png")
                for i in range(count)
            ],
        )
        for k, (task, form, answer, count) in enumerate(
            [
                ("depth_prediction_oc", "fill", "1.5", 1),
                ("depth_prediction_oc", "fill", "2.5", 1),
                ("position_matching", "select", "B", 2),
                ("position_matching", "select", "C", 2),
            ]
        )
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=hub.schema(False)), root / "bench.parquet")
    return root


@pytest.fixture(scope="module")
def whole(home: Path) -> bytes:
    return p.predict(home / "model", home / "data", home / "whole.jsonl", **OPTIONS).read_bytes()


def read(path: Path) -> list[dict]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def test_every_question_has_one_line_with_the_raw_answer(home, whole):
    rows = [orjson.loads(line) for line in whole.splitlines()]
    assert [row["answer"] for row in rows] == [f"{k}.5" for k in range(10)] and len(
        {row["id"] for row in rows}
    ) == 10
    assert list(rows[0]) == [
        "id",
        "task",
        "format",
        "source",
        "scene",
        "question",
        "answer",
        "prediction",
        "image_mode",
    ]
    assert {row["scene"] for row in rows} == {"room0", "room1", "room2"} and len(
        score_file(home / "whole.jsonl")
    ) == 10


def test_a_cut_file_is_completed_and_only_what_is_missing_is_asked(
    home, whole, tmp_path, monkeypatch
):
    out = p.predict(home / "model", home / "data", tmp_path / "o.jsonl", **OPTIONS)
    out.write_bytes(whole[: len(whole) * 2 // 3])
    kept = whole[: len(whole) * 2 // 3].count(b"\n")
    asked = []
    real = p.generate_answers

    def counting(model, collator, samples, tokens):
        asked.extend(sample.id for sample in samples)
        return real(model, collator, samples, tokens)

    monkeypatch.setattr(p, "generate_answers", counting)
    assert p.predict(home / "model", home / "data", out, **OPTIONS).read_bytes() == whole
    assert len(asked) == 10 - kept and 0 < kept < 10
    monkeypatch.setattr(p, "open_model", lambda *a, **k: pytest.fail("loaded a model for nothing"))
    assert p.predict(home / "model", home / "data", out, **OPTIONS).read_bytes() == whole


@pytest.mark.parametrize(
    "change",
    [
        dict(marker_scale=1.0),
        dict(prompt="official"),
        dict(images="gray"),
        dict(dtype="bf16"),
        dict(quantize="nf4"),
    ],
)
def test_other_options_do_not_inherit_answers(home, whole, tmp_path, change, monkeypatch):
    out = tmp_path / "o.jsonl"
    asked = []
    out.write_bytes(whole)
    (tmp_path / "o.jsonl.model").write_text((home / "whole.jsonl.model").read_text())
    monkeypatch.setattr(p.LocalModel, "load", lambda self: None)
    monkeypatch.setattr(
        p.LocalModel, "answer", lambda self, items, *_: asked.extend(items) or ["7"] * len(items)
    )
    p.predict(home / "model", home / "data", out, **OPTIONS)
    assert not asked
    p.predict(home / "model", home / "data", out, **OPTIONS, **change)
    assert len(asked) == 10 and (tmp_path / "o.jsonl.previous").read_bytes() == whole


def test_a_changed_question_is_asked_again(home, tmp_path):
    items = list(open_benchmark(home / "data").items)
    row = {
        "id": items[0].id,
        "task": items[0].task,
        "format": "fill",
        "question": "another one",
        "answer": "0.5",
        "prediction": "7",
    }
    out = tmp_path / "changed.jsonl"
    out.write_bytes(orjson.dumps(row) + b"\n")
    (tmp_path / "changed.jsonl.model").write_text("x")
    assert len(PredictionWriter(out, items, "x").left) == 10
    row["question"] = items[0].text
    out.write_bytes(orjson.dumps(row) + b"\n")
    assert (
        list(PredictionWriter(out, items, "x").rows) == [items[0].key]
        and len(PredictionWriter(out, items, "y").left) == 10
    )


def test_a_limit_is_spread_over_scenes(home):
    benchmark = open_benchmark(home / "data")
    assert [item.scene for item in benchmark.select_items(3)] == ["room0", "room1", "room2"]
    assert len(benchmark.select_items(7)) == 7 and len(benchmark.select_items(99)) == 10


def test_nothing_to_answer_is_said(home):
    with pytest.raises(ValueError, match="no train questions"):
        p.predict(home / "model", home / "data", home / "none.jsonl", split="train", **OPTIONS)


# ---- what the model gets


def shown(home, data, monkeypatch, **options):
    """(prompt, images) that reach the processor."""
    got = []

    def looking(model, collator, samples, tokens):
        got.extend((s.turns[0][0], collator.pictures.show(s)) for s in samples)
        # the processor takes them
        collator(samples)
        return ["1"] * len(samples)

    monkeypatch.setattr(p, "generate_answers", looking)
    out = p.predict(home / "model", data, home / "shown.jsonl", **OPTIONS | options)
    assert not any("failed" in row for row in read(out))
    out.unlink()
    return got


def test_benchmark_rows_get_the_official_prompt_and_the_kits_own_the_plain_one(home, monkeypatch):
    bench = shown(home, f"parquet:{home}/bench.parquet", monkeypatch)
    assert (
        bench[0][0] == f"\nQuestion 0?\n{NUMBER_PROMPT}"
        and bench[2][0].startswith("\nQuestion 2?\nThe values represent")
        and bench[2][0].endswith(LETTER_PROMPT)
    )
    assert [len(images) for _, images in bench] == [1, 1, 2, 2] and all(
        image.size == (48, 48) for _, images in bench for image in images
    )
    assert (
        shown(home, f"parquet:{home}/bench.parquet", monkeypatch, prompt="plain")[0][0]
        == "Question 0?"
    )
    assert (
        shown(home, home / "data", monkeypatch)[0][0].startswith("The chair")
        and NUMBER_PROMPT in shown(home, home / "data", monkeypatch, prompt="official")[0][0]
    )


def test_blind_views_reach_the_processor(home, monkeypatch):
    for data in (home / "data", f"parquet:{home}/bench.parquet"):
        given = shown(home, data, monkeypatch)
        assert all(images == [] for _, images in shown(home, data, monkeypatch, images="none"))
        grey = shown(home, data, monkeypatch, images="gray")
        assert all(
            image.getcolors() == [(48 * 48, BLANK_COLOR)] for _, images in grey for image in images
        )
        swapped = shown(home, data, monkeypatch, images="swapped")
        for (question, images), (same, others) in zip(given, swapped):
            assert question == same and len(images) == len(others)
            assert not np.array_equal(np.asarray(images[0]), np.asarray(others[0]))


def test_all_views_load_the_model_once(home, tmp_path, monkeypatch):
    loads = []
    real = p.open_model
    monkeypatch.setattr(p, "open_model", lambda *a, **k: loads.append(1) or real(*a, **k))
    files = p.predict_image_modes(
        p.LocalModel(home / "model"),
        open_benchmark(f"parquet:{home}/bench.parquet"),
        tmp_path,
        **OPTIONS,
    )
    assert {mode: path.name for mode, path in files.items()} == {
        "original": "predictions.jsonl",
        "none": "predictions_none.jsonl",
        "gray": "predictions_gray.jsonl",
        "swapped": "predictions_swapped.jsonl",
    }
    assert loads == [1] and all(len(score_file(path)) == 4 for path in files.values())


def test_the_command_line_asks_a_benchmark_all_ways_and_goes_on_for_nothing(
    home, tmp_path, capsys, monkeypatch
):
    def spar(*words):
        with pytest.raises(SystemExit) as leaving:
            main(["evaluate", str(home / "model"), "--out", str(tmp_path), "--batch", "4", *words])
        return leaving.value.code, *capsys.readouterr()

    code, out, err = spar("--benchmark", f"parquet:{home}/bench.parquet", "--images", "all")
    assert (
        code == 0
        and "bench.parquet: 4 questions of 2 tasks" in out
        and "what looking is worth" in out
        and "swapped" in out
    )
    assert {path.name for path in tmp_path.glob("*.json*")} >= {
        "predictions.jsonl",
        "predictions_none.jsonl",
        "predictions_gray.jsonl",
        "predictions_swapped.jsonl",
        "items.jsonl",
        "scores.json",
        "run.json",
    }
    note = orjson.loads((tmp_path / "run.json").read_bytes())
    assert (note["prompt"], note["questions"], note["dtype"], note["images"]) == (
        "official",
        4,
        "auto",
        ["original", "none", "gray", "swapped"],
    )
    monkeypatch.setattr(p, "open_model", lambda *a, **k: pytest.fail("loaded a model for nothing"))
    assert spar("--benchmark", f"parquet:{home}/bench.parquet", "--images", "original,gray")[0] == 0
    for words, said in (
        (["--data", str(home / "data"), "--benchmark", "spar-bench"], "give one of"),
        ([], "give one of"),
        (["--benchmark", "spar-bnch"], "neither a folder"),
        (
            ["--data", str(home / "data"), "--images", "black"],
            "images 'black' is none of original, none, gray, swapped, all",
        ),
    ):
        code, out, err = spar(*words)
        assert code == 2 and said in err and err.count("\n") == 1


# ---- what goes wrong


class Weak:
    """Takes `room` images at once; fails on ids in `bad`, on those in `shaky` the first time they
    are asked alone."""

    def __init__(self, room=99, bad=(), shaky=()):
        self.room = room
        self.bad = set(bad)
        self.shaky = set(shaky)
        self.asked = []

    def answer(self, items, prompt, max_new_tokens):
        self.asked.append(len(items))
        if sum(len(item.images) for item in items) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if any(item.id in self.bad for item in items):
            raise OSError("cut off")
        if any(item.id in self.shaky for item in items):
            if len(items) == 1:
                self.shaky -= {items[0].id}
            raise RuntimeError("lost the device")
        return [f"{item.id} m" for item in items]


def run(tmp_path, model, count=40, batch=16, images=1):
    items = [
        Question(
            id=str(k),
            task="depth_prediction_oc",
            format="fill",
            scene="",
            text="How deep?",
            answer="1.5",
            images=(Path("0.jpg"),) * (images if k % 2 else 1),
        )
        for k in range(count)
    ]
    with PredictionWriter(tmp_path / "a.jsonl", items, "") as writer:
        p.run_predictions(model, writer, "plain", batch=batch)
    return {row["id"]: row for row in read(tmp_path / "a.jsonl")}


def test_short_of_memory_the_batch_shrinks_and_stays_small(tmp_path):
    weak = Weak(room=6)
    rows = run(tmp_path, weak, images=3)
    assert len(rows) == 40 and all(row["prediction"] == f"{key} m" for key, row in rows.items())
    # 16 and 8 are tried, not again for every batch
    assert len([n for n in weak.asked if n > 6]) <= 3
    # three images: two at once
    assert weak.asked[-1] <= 2


def test_what_cannot_be_answered_is_recorded_and_the_rest_goes_on(tmp_path):
    weak = Weak(bad={"3", "17"}, shaky={"8"})
    rows = run(tmp_path, weak)
    assert (
        {key for key, row in rows.items() if row.get("failed")} == {"3", "17"}
        and rows["3"]["prediction"] is None
        and rows["3"]["failed"] == "OSError: cut off"
    )
    assert rows["8"]["prediction"] == "8 m" and len(rows) == 40
    weak.bad = set()
    weak.asked = []
    rows = run(tmp_path, weak)
    assert sum(weak.asked) == 2 and not any(row.get("failed") for row in rows.values())


def test_one_item_too_large_alone_is_recorded(tmp_path):
    rows = run(tmp_path, Weak(room=2), count=6, images=3)
    assert {key for key, row in rows.items() if row.get("failed")} == {
        "1",
        "3",
        "5",
    } and "out of memory with 1 at once" in rows["1"]["failed"]


def test_a_model_that_answers_nothing_stops_the_run(tmp_path):
    weak = Weak(bad={str(k) for k in range(40)})
    with pytest.raises(
        ValueError,
        match="none of the first 8 questions could be answered; the last one: OSError: cut off",
    ):
        run(tmp_path, weak)
    assert sum("failed" in row for row in read(tmp_path / "a.jsonl")) == 8


def test_a_broken_image_fails_its_item_alone(home, tmp_path):
    rows = pq.read_table(home / "bench.parquet").to_pylist()
    rows[1]["image"][0]["bytes"] = rows[1]["image"][0]["bytes"][:60]
    pq.write_table(pa.Table.from_pylist(rows, schema=hub.schema(False)), tmp_path / "b.parquet")
    said = {
        row["id"]: row
        for row in read(
            p.predict(
                home / "model", f"parquet:{tmp_path}/b.parquet", tmp_path / "o.jsonl", **OPTIONS
            )
        )
    }
    assert [key for key, row in said.items() if row.get("failed")] == ["1"]
    assert "b.parquet: row 1: image[0]: not a readable image" in said["1"]["failed"] and isinstance(
        said["0"]["prediction"], str
    )


@pytest.mark.parametrize(
    "missing, words, says",
    [
        ("torch", [], 'this needs torch; type: pip install "spar_kit[train]"'),
        (
            "openai",
            ["--api", "http://127.0.0.1:9/v1"],
            'asking a server needs the openai client; type: pip install "spar_kit[serve]"',
        ),
    ],
)
def test_a_missing_package_is_one_line_that_says_what_to_type(
    home, tmp_path, capfd, monkeypatch, missing, words, says
):
    for name in [
        name
        for name in sys.modules
        if name.startswith(("spar_kit.bench.models.local", "spar_kit.train"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    # what an import meets where the package is not installed
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit) as leaving:
        main(
            [
                "evaluate",
                str(home / "model"),
                "--benchmark",
                f"parquet:{home}/bench.parquet",
                "--out",
                str(tmp_path),
                *words,
            ]
        )
    assert leaving.value.code == 2 and capfd.readouterr().err == f"spar: {says}\n"


# ---- how it is loaded


def adapter_of(home: Path, folder: Path) -> Path:
    from peft import LoraConfig, get_peft_model

    model, _ = load_model(home / "model")
    model = get_peft_model(
        model, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    )
    model.save_pretrained(folder)
    return folder


def test_bf16_nf4_and_an_adapter_of_somebody_else(home, tmp_path):
    items = list(open_benchmark(f"parquet:{home}/bench.parquet").items)
    # no processor, no card of ours
    adapter = adapter_of(home, tmp_path / "adapter")
    plain = p.LocalModel(home / "model")
    half = p.LocalModel(home / "model", dtype="bf16")
    small = p.LocalModel(home / "model", quantize="nf4")
    for model in (
        plain,
        half,
        small,
        p.LocalModel(home / "model", adapter=adapter),
        p.LocalModel(adapter),
    ):
        texts = model.answer(items[:2], "official", 3)
        assert len(texts) == 2 and all(isinstance(text, str) for text in texts)
    assert {parameter.dtype for parameter in half._model.parameters()} == {torch.bfloat16}
    assert (
        linear_counts(small._model)["text"]["4-bit"]
        == linear_counts(small._model)["text"]["all"]
        > 0
    )
    identities = [
        p.LocalModel(home / "model", **o).identity
        for o in (
            {},
            {"dtype": "bf16"},
            {"quantize": "nf4"},
            {"adapter": adapter},
            {"marker_scale": 3.0},
        )
    ]
    assert len({str(identity) for identity in identities}) == 5
    with pytest.raises(ValueError, match="dtype 'int3' is none of"):
        p.LocalModel(home / "model", dtype="int3")


def test_an_adapter_on_top_changes_what_is_said(home, tmp_path):
    items = list(open_benchmark(home / "data").items)
    adapter = adapter_of(home, tmp_path / "adapter")
    bare = p.LocalModel(home / "model")
    tuned = p.LocalModel(home / "model", adapter=adapter)
    bare.load()
    tuned.load()
    batch = bare._collator(items[:2])
    with torch.no_grad():
        assert not torch.allclose(bare._model(**batch).logits, tuned._model(**batch).logits)
