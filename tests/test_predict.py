"""Predictions: which questions, lines on disk, resuming at the item."""

import orjson
import pytest
import torch
from PIL import Image

from spar_kit.bench import predict as p
from spar_kit.bench.score import score_file
from spar_kit.train.models import SmallVLM, build_model, build_processor, save_model, train_tokenizer

OPTIONS = dict(batch=4, max_new_tokens=4, progress=False)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
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
        says = [{"from": "human", "value": f"The chair (red point) is {k}.0 m deep. How deep is the lamp (blue point)?"}, {"from": "gpt", "value": f"{k}.5"}]
        lines.append(orjson.dumps({"id": f"room{k % 3}_{k}", "type": "depth_prediction_oc", "image": [image], "red_point": [[100 + k, 500]],
                                   "blue_point": [[700, 300]], "conversations": says}))
    (folder / "fill_10.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    spec = SmallVLM(image_size=48, patch_size=12, vision_width=32, vision_layers=1, vision_heads=2, text_width=32, text_layers=1, text_heads=2, vocabulary=420)
    processor = build_processor(spec, train_tokenizer([line.decode() for line in lines], spec.vocabulary))
    save_model(build_model(spec, processor), processor, root / "model", picture=48, marker_scale=2.0)
    return root


@pytest.fixture(scope="module")
def whole(home):
    return p.predict(home / "model", home / "data", home / "whole.jsonl", **OPTIONS).read_bytes()


def test_every_question_has_one_line_with_the_raw_answer(home, whole):
    rows = [orjson.loads(line) for line in whole.splitlines()]
    assert [row["answer"] for row in rows] == [f"{k}.5" for k in range(10)] and len({row["id"] for row in rows}) == 10
    assert set(rows[0]) == {"id", "task", "format", "source", "scene", "question", "answer", "prediction"}
    assert len(score_file(home / "whole.jsonl")) == 10


def test_a_cut_file_is_completed_and_only_what_is_missing_is_asked(home, whole, tmp_path, monkeypatch):
    out = p.predict(home / "model", home / "data", tmp_path / "o.jsonl", **OPTIONS)
    out.write_bytes(whole[: len(whole) * 2 // 3])
    kept, asked, real = whole[: len(whole) * 2 // 3].count(b"\n"), [], p.answer

    def counting(model, collator, samples, tokens):
        asked.extend(sample.id for sample in samples)
        return real(model, collator, samples, tokens)
    monkeypatch.setattr(p, "answer", counting)
    assert p.predict(home / "model", home / "data", out, **OPTIONS).read_bytes() == whole
    assert len(asked) == 10 - kept and 0 < kept < 10
    monkeypatch.setattr(p, "load_model", lambda *a, **k: pytest.fail("loaded a model for nothing"))
    assert p.predict(home / "model", home / "data", out, **OPTIONS).read_bytes() == whole


def test_other_options_do_not_inherit_answers(home, whole, tmp_path):
    out = p.predict(home / "model", home / "data", tmp_path / "o.jsonl", **OPTIONS)
    note = (tmp_path / "o.jsonl.model").read_text()
    p.predict(home / "model", home / "data", out, marker_scale=1.0, **OPTIONS)
    assert (tmp_path / "o.jsonl.model").read_text() != note


def test_a_changed_question_is_asked_again(home):
    items = p.read_items(home / "data")
    row = {"id": items[0].sample.id, "task": items[0].sample.task, "format": "fill", "question": "another one", "answer": "0.5", "prediction": "7"}
    out = home / "changed.jsonl"
    out.write_bytes(orjson.dumps(row) + b"\n")
    out.with_name("changed.jsonl.model").write_text("x")
    assert p._finished(out, "x", items) == {}
    row["question"] = items[0].sample.turns[0][0]
    out.write_bytes(orjson.dumps(row) + b"\n")
    assert list(p._finished(out, "x", items)) == [items[0].key] and p._finished(out, "y", items) == {}


def test_a_limit_is_spread_over_scenes(home):
    assert [item.scene for item in p.read_items(home / "data", limit=3)] == ["room0", "room1", "room2"]
    assert len(p.read_items(home / "data", limit=7)) == 7 and len(p.read_items(home / "data", limit=99)) == 10


def test_nothing_to_answer_is_said(home):
    with pytest.raises(ValueError, match="no train questions"):
        p.predict(home / "model", home / "data", home / "none.jsonl", split="train", **OPTIONS)
