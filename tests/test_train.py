"""The small model, the collator's loss mask, QLoRA on the CPU, stages that resume to the same
weights."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from spar_kit.data.question import Question
from spar_kit.train import pipeline as stages
from spar_kit.train import trainer
from spar_kit.train.collate import (
    Collator,
    ImageLoader,
    messages,
    plan_batches,
    samples_from_records,
    supervised_text,
)
from spar_kit.train.config import (
    LoraParams,
    SmallVLMConfig,
    StageParams,
    TextConfig,
    TrainParams,
    VisionConfig,
)
from spar_kit.train.lora import adapted_layers, attach_lora, gradient_norms
from spar_kit.train.models import (
    adapter_base,
    build_model,
    build_processor,
    linear_counts,
    load_model,
    save_model,
    tower_of,
    train_tokenizer,
)
from spar_kit.train.trainer import answer_loss
from spar_kit.train.warmup.grounding import GroundingQuestions, RandomMarkers, load_visible_objects
from spar_kit.train.warmup.optim import Muon, parameter_groups
from spar_kit.train.warmup.vision import (
    NUM_BINS,
    OBJECT_PAIRS,
    PAIR,
    SINGLE,
    TOKEN_TARGETS,
    ProbeHeads,
    marker_targets,
    pair_targets,
    patch_targets,
    soft_bins,
)

TINY = SmallVLMConfig(
    vision_config=VisionConfig(
        image_size=48, patch_size=12, hidden_size=32, num_hidden_layers=1, num_attention_heads=2
    ),
    text_config=TextConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=420
    ),
)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A made-up dataset in SPAR's layout: two scenes, two images each, questions of two tasks."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    rows = {"depth_prediction_oc/fill": [], "obj_spatial_relation_oo/judge": []}
    for scene in ("room0", "room1"):
        home = root / "spar/synthetic/images" / scene
        for name in ("image_color", "image_instance", "image_depth", "pose"):
            (home / name).mkdir(parents=True)
        (home / "instances.json").write_text(
            json.dumps(
                {
                    "instances": [
                        {"id": 1, "label": "chair", "center": [-1, 3, 0.5], "size": [0.5, 0.6, 1]},
                        {"id": 2, "label": "lamp", "center": [1, 4, 2], "size": [0.3, 0.3, 0.6]},
                    ]
                }
            )
        )
        for k in range(2):
            # looks along +y
            np.savetxt(
                home / f"pose/{k}.txt", [[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]]
            )
            ids = np.zeros((60, 80), np.uint16)
            ids[30:55, 5 + 10 * k : 30 + 10 * k], ids[5:20, 50:70] = 1, 2
            Image.fromarray((ids * 90 + 40).astype(np.uint8)).convert("RGB").save(
                home / f"image_color/{k}.jpg"
            )
            Image.fromarray(ids).save(home / f"image_instance/{k}.png")
            Image.fromarray(np.full((60, 80), 2000, np.uint16)).save(home / f"image_depth/{k}.png")
            for n in range(6):
                base = {"id": f"{scene}_{k * 6 + n}", "image": [f"{scene}/image_color/{k}.jpg"]}
                x = rng.integers(100, 900, 4).tolist()
                rows["depth_prediction_oc/fill"].append(
                    {
                        **base,
                        "type": "depth_prediction_oc",
                        "red_point": [x[:2]],
                        "blue_point": [x[2:]],
                        "conversations": [
                            {
                                "from": "human",
                                "value": (
                                    f"The chair (red point) is {n}.0 meters deep. How deep is the"
                                    " lamp (blue point)?"
                                ),
                            },
                            {"from": "gpt", "value": f"{n}.5"},
                        ],
                    }
                )
                rows["obj_spatial_relation_oo/judge"].append(
                    {
                        **base,
                        "type": "obj_spatial_relation_oo",
                        "red_bbox": [[10, 500, 300, 900]],
                        "blue_bbox": [[600, 100, 800, 300]],
                        "conversations": [
                            {
                                "from": "human",
                                "value": "Is the chair (red bbox) above the lamp (blue bbox)?",
                            },
                            {"from": "gpt", "value": "No"},
                        ],
                    }
                )
    for name, records in rows.items():
        folder = root / "spar/synthetic/qa_jsonl/train" / name
        folder.mkdir(parents=True)
        (folder / f"{folder.name}_{len(records)}.jsonl").write_text(
            "".join(json.dumps(r) + "\n" for r in records)
        )
    return root


PARAMS = TrainParams(
    vlm_config=TINY,
    dataloader_num_workers=0,
    vision_warmup=StageParams(max_steps=2, batch_size=4, save_steps=1, logging_steps=2),
    grounding=StageParams(max_steps=4, batch_size=4, save_steps=2, logging_steps=2),
    finetune=StageParams(max_steps=6, batch_size=4, save_steps=2, logging_steps=2),
    lora=LoraParams(r=4, lora_alpha=8, lora_dropout=0.1, train_embeddings=True),
)


def changed(params=PARAMS, **values):
    return params.model_copy(update=values)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    torch.set_num_threads(1)
    return stages.train(PARAMS, data, tmp_path_factory.mktemp("run"), progress=False)


def weights(folder):
    from safetensors.torch import load_file

    return load_file(next(folder.glob("*model.safetensors")))


def test_tokenizer_gives_back_any_text_and_splits_digits():
    for phrases in (False, True):
        tokenizer = train_tokenizer(["How deep is the chair (red point)? 1.5\n"] * 5, 400, phrases)
        for text in (
            "How deep is the chair (red point)? 12.5",
            "Ünïcode\n\n[1, 2] <answer>",
            "日本",
        ):
            assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
        assert tokenizer.tokenize("12.5")[-4:] == ["1", "2", ".", "5"]


def test_small_model_is_saved_and_loaded_like_any_other(tmp_path):
    processor = build_processor(
        TINY, train_tokenizer(["left right"] * 3, TINY.text_config.vocab_size)
    )
    model = build_model(TINY, processor, seed=3)
    save_model(model, processor, tmp_path / "m", image_size=48)
    again, _ = load_model(tmp_path / "m")
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values())
    )
    assert not all(
        torch.equal(a, b)
        for a, b in zip(
            model.state_dict().values(), build_model(TINY, processor, seed=4).state_dict().values()
        )
    )
    with pytest.raises(ValueError, match="neither a folder nor a hub repository"):
        load_model("nothing-here")


def plain_processor(pad):
    """A processor as most models on the hub have: no `generation` block in its template, and `pad`
    as its padding token."""
    processor = build_processor(
        TINY,
        train_tokenizer(
            ["How deep is it? 1.5", "the answer is 2.5 m"] * 20, TINY.text_config.vocab_size
        ),
    )
    processor.tokenizer.pad_token = pad
    processor.chat_template = re.sub(r"\{%-? *(end)?generation *-?%\}", "", processor.chat_template)
    return processor


def conversation(id, images, *turns):
    (text, answer), *later = turns
    return Question(
        id=id,
        task="",
        format="",
        scene="",
        images=images,
        text=text,
        answer=answer,
        later=tuple(later),
    )


def asked(id, question, answer, image):
    return conversation(id, (image,), (question, answer))


@pytest.mark.parametrize("pad", ["<|endoftext|>", "<|im_end|>", None])
def test_the_label_is_the_answer_and_its_end_whatever_token_pads(tmp_path, pad):
    Image.new("RGB", (64, 48)).save(tmp_path / "a.jpg")
    samples = [
        asked("a", "How deep is it?", "1.5", tmp_path / "a.jpg"),
        asked("b", "How deep is it from here to there?", "the answer is 2.5 m", tmp_path / "a.jpg"),
    ]
    processor = plain_processor(pad)
    for batch in (samples, samples[::-1]):
        labels = supervised_text(Collator(processor, ImageLoader(48))(batch), processor)
        assert labels == [f"{sample.turns[0][1]}<|im_end|>" for sample in batch]


@pytest.mark.parametrize(
    "question, answer",
    [
        ("What is the <image> showing?", "1.5"),
        ("How deep?<|im_end|>", "1.5"),
        ("How deep?", "<image>"),
        ("Which <video>?", "1"),
    ],
)
def test_text_that_the_model_would_not_read_as_text_is_named_before_training(
    data, tmp_path, question, answer
):
    Image.new("RGB", (64, 48)).save(tmp_path / "a.jpg")
    bad = asked("row-17", question, answer, tmp_path / "a.jpg")
    good = asked("row-18", "How deep is it?", "1.5", tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="row-17"):
        Collator(plain_processor("<|endoftext|>"), ImageLoader(48))([good, bad])
    shutil.copytree(data, tmp_path / "data")
    file = next((tmp_path / "data").rglob("fill_*.jsonl"))
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[5]["conversations"] = [
        {"from": "human", "value": question},
        {"from": "gpt", "value": answer},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ValueError, match=rf"sample {rows[5]['id']} "):
        stages.train(PARAMS, tmp_path / "data", tmp_path / "run", progress=False)
    assert not (tmp_path / "run/log.jsonl").exists(), "no step was taken"


@pytest.mark.parametrize(
    "config, told",
    [
        ('{"peft_type": "LORA"}', "does not say"),
        ('{"base_model_name_or_path": ""}', "does not say"),
        ('{"base_model_name_or_path": " "}', "does not say"),
        ('{"base_model_name_or_path": null}', "does not say"),
        ('{"base_model_name_or_path": 7}', "does not say"),
        ("[]", "does not say"),
        ('{"base_model_name_or_path": "."}', "the adapter itself"),
        ("{", "not JSON"),
    ],
)
def test_an_adapter_that_names_no_base_says_so(tmp_path, config, told):
    from spar_kit.bench.interop.lmms_eval import base_of

    (tmp_path / "adapter_config.json").write_text(config)
    for read in (load_model, adapter_base, lambda folder: base_of(str(folder))):
        with pytest.raises(ValueError, match=rf"adapter_config.json: .*{told}"):
            read(tmp_path)


def test_bad_shapes_are_refused():
    with pytest.raises(ValueError, match="image_size"):
        SmallVLMConfig(vision_config=VisionConfig(image_size=100))
    with pytest.raises(ValueError, match="hidden_size"):
        TextConfig(hidden_size=100, num_attention_heads=3)


def test_towers():
    names = {
        "model.vision_tower.vision_model.encoder.layers.0.mlp.fc1": "vision",
        "model.visual.blocks.0.attn.qkv": "vision",
        "lm_head": "head",
        "model.multi_modal_projector.linear_1": "connector",
        "model.visual.merger.mlp.0": "connector",
        "model.language_model.layers.3.mlp.up_proj": "text",
    }
    assert {name: tower_of(name) for name in names} == names


def test_loss_is_on_the_answers_alone(data):
    record = json.loads(next((data / "spar").rglob("fill_24.jsonl")).read_text().splitlines()[3])
    sample = Question.from_record(record, data / "spar/synthetic/images", format="fill")
    two = conversation("two", sample.images, ("how far?", "2.5 m"), ("and now?", "left, above"))
    processor = build_processor(
        TINY, train_tokenizer([sample.turns[0][0]] * 3, TINY.text_config.vocab_size)
    )
    collator = Collator(processor, ImageLoader(48, 2.0))
    batch = collator([sample, two])
    assert supervised_text(batch, processor) == [
        "3.5<|im_end|>",
        "2.5 m<|im_end|>left, above<|im_end|>",
    ]
    # by the tensor, not by the text: a label is either ignored or the token at its place
    kept = batch["labels"] != -100
    assert (
        torch.equal(batch["labels"][kept], batch["input_ids"][kept])
        and not kept[batch["attention_mask"] == 0].any()
    )
    with pytest.raises(ValueError, match="room0_3.*more than the 20"):
        Collator(processor, collator.pictures, max_length=20)([sample])
    silent = Collator(processor, collator.pictures)
    silent.speaker = None
    silent.marks_answers = False
    with pytest.raises(ValueError, match="does not say where the answer is"):
        silent([two])
    assert torch.equal(silent([sample])["labels"], collator([sample])["labels"])


def test_prompts_end_where_the_answer_begins(data):
    processor = build_processor(TINY, train_tokenizer(["left"], TINY.text_config.vocab_size))
    samples = [
        conversation(
            str(k),
            (data / "spar/synthetic/images/room0/image_color/0.jpg",) * (k + 1),
            ("why" * (k + 1), "secret"),
        )
        for k in range(2)
    ]
    batch = Collator(processor, ImageLoader(48), answers=False)(samples)
    texts = processor.tokenizer.batch_decode(batch["input_ids"])
    assert (
        all(text.endswith("<|im_start|>assistant\n") and "secret" not in text for text in texts)
        and "labels" not in batch
    )
    # padded on the left
    assert batch["attention_mask"][0, 0] == 0 and batch["attention_mask"][1, 0] == 1
    assert [text.count("<image>") for text in texts] == [TINY.image_tokens, 2 * TINY.image_tokens]


def test_frames_of_a_video_are_numbered_from_zero():
    walk = conversation("v", (Path("a.jpg"),) * 32, ("q", "a"))
    shown = messages(walk, [None] * 32)[0]["content"]
    words = [part["text"] for part in shown if part["type"] == "text"]
    assert (
        words[0] == "Frame-0: "
        and words[62] == "Frame-31: "
        and sum(part["type"] == "image" for part in shown) == 32
    )


def test_a_missing_image_and_a_broken_record_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.jpg"):
        ImageLoader(48).read(tmp_path / "nowhere.jpg")
    with pytest.raises(ValueError, match="conversations: expected at least one question"):
        Question.from_record({"id": "r_1", "type": "x", "conversations": []}, tmp_path)


def test_plan_follows_weights_and_seed():
    lengths = np.arange(1, 41)
    weights_ = np.r_[np.full(20, 3.0), np.zeros(10), np.full(10, 0.5)]
    plan = plan_batches(lengths, weights_, 60, batch=8, seed=1)
    shown = np.bincount(np.concatenate(plan), minlength=40)
    assert shown[20:30].sum() == 0 and 4 < shown[:20].mean() / shown[30:].mean() < 9
    assert plan != plan_batches(lengths, weights_, 60, batch=8, seed=2)
    with pytest.raises(ValueError, match="no samples"):
        plan_batches(lengths, np.zeros(40), 5, batch=4, seed=0)


def test_grounding_answers_fit_what_is_marked(data):
    seen = load_visible_objects(
        sorted((data / "spar/synthetic/images").glob("*/image_color/*.jpg"))
    )
    assert len(seen) == 4 and np.allclose(seen[0].boxes[0], [62.5, 500, 375, 916.67], atol=0.01)
    assert np.allclose(seen[0].centers, [[-1, 1, 3], [1, -0.5, 4]]) and np.allclose(
        seen[0].sizes[0], [0.6, 0.5, 1]
    )
    pages = GroundingQuestions(seen, seed=0)
    kinds = set()
    for k in range(60):
        page = pages[k]
        kind = "bbox" if "red_bbox" in page.markers else "point"
        at = (
            np.array([page.markers[f"{color}_{kind}"][0] for color in ("red", "blue")], float)
            .reshape(2, -1, 2)
            .mean(1)
        )
        # the chair is on the left
        chair_is_red = at[0, 0] < at[1, 0]
        red = f"the (red {kind})"
        blue = f"the (blue {kind})"
        said = dict(page.turns)
        kinds |= {question.replace(kind, "") for question in said}
        assert said.pop(f"How deep is {blue} in meters?") == ("4.0" if chair_is_red else "3.0")
        # sqrt(2^2 + 1.5^2 + 1^2)
        assert said.pop(f"How far is {red} from {blue} in meters?") == "2.7"
        assert said.pop(f"Where is {red} from {blue}?") == (
            "left, below, closer" if chair_is_red else "right, above, farther"
        )
        if kind == "bbox":
            assert said.pop(f"How large is {red}?") == (
                "length is 60 cm, width is 50 cm, and height is 100 cm."
                if chair_is_red
                else "length is 30 cm, width is 30 cm, and height is 60 cm."
            )
        if chair_is_red:
            true = {"left of", "below", "closer than"}
        else:
            true = {"right of", "above", "farther than"}
        assert len(said) == 3
        for question, answer in said.items():
            assert answer == (
                "Yes"
                if question.removeprefix(f"Is {red} ").removesuffix(f" {blue}?") in true
                else "No"
            )
    assert (
        len(kinds) == 10
        and pages[7] == GroundingQuestions(seen, seed=0)[7] != GroundingQuestions(seen, seed=1)[7]
    )
    first = dict(GroundingQuestions(seen, seed=0, basics=1)[0].turns)
    kind = "bbox" if "red_bbox" in GroundingQuestions(seen, seed=0, basics=1)[0].marks else "point"
    assert set(first) == {"Where are the markers?", "How deep are they in meters?"}
    assert first["How deep are they in meters?"] in (
        f" (red {kind})3.0 (blue {kind})4.0",
        f" (red {kind})4.0 (blue {kind})3.0",
    )
    with pytest.raises(ValueError, match="two objects"):
        GroundingQuestions([])
    pose = data / "spar/synthetic/images/room0/pose/0.txt"
    kept = pose.read_text()
    pose.write_text("1 2 nothing")
    try:
        with pytest.raises(ValueError, match="0.txt: cannot be read"):
            load_visible_objects([data / "spar/synthetic/images/room0/image_color/0.jpg"])
    finally:
        pose.write_text(kept)


def test_eyes_are_told_where_markers_are(data):
    pages = RandomMarkers(
        load_visible_objects(sorted((data / "spar/synthetic/images").glob("*/image_color/*.jpg"))),
        seed=3,
    )
    log_depth = np.log(np.linspace(1, 4, 16, dtype=np.float32))[:, None].repeat(16, 1)
    names = list(SINGLE)
    known = 0
    for k in range(20):
        page = pages[k]
        target = marker_targets(page.sample, page.solids, log_depth)
        holders, numbers = patch_targets(target, log_depth, 8)
        assert (
            target[:, 0].all()
            and set(holders) > {0}
            and np.allclose(numbers[:, 5].reshape(8, 8), log_depth[1::2, ::2])
        )
        for color, row in enumerate(target):
            column, line = ((row[1:3] + 1) * 4).astype(int)
            assert holders[line * 8 + column] > 0
            if holders[line * 8 + column] == color + 1:
                assert np.allclose(numbers[line * 8 + column, :5], row[1:6])
            at = dict(zip(names, row[1:]))
            # on the chair at (-1, 1, 3) or the lamp at (1, -.5, 4)
            if np.isfinite(at["right"]):
                known += 1
                assert (at["x"] < 0) == (at["right"] < 0) and np.isclose(
                    at["forward"], 3 if at["x"] < 0 else 4
                )
                assert np.isclose(
                    np.exp(at["log_height"]), 1 if at["x"] < 0 else 0.6
                ) and np.isclose(at["away"], 11**0.5 if at["x"] < 0 else 17.25**0.5)
        between = pair_targets(target)
        both = np.isfinite(target[:, 1 + names.index("right")])
        for (a, b), row in zip(OBJECT_PAIRS, between):
            assert np.isfinite(row).all() == (both[a] and both[b])
            if both[a] and both[b]:
                assert np.isclose(row[list(PAIR).index("distance")], 7.25**0.5, atol=1e-4) and (
                    row[0] < 0
                ) == (target[a, 1] < target[b, 1])
    assert known > 20


def test_every_image_token_has_a_topic():
    readers = ProbeHeads(16, 8, 8)
    single = torch.full((2, 4, 13), torch.nan)
    pair = torch.full((2, 6, 5), torch.nan)
    single[..., 0] = 0
    single[:, 1] = torch.tensor([1, 0.5, -0.5, 0.1, 0.1, 1, 0, 0, 3, 0, 0, 0, 3])
    pair[:, 0] = torch.tensor([-1.0, 0.5, 0, 1.2, 0.2])
    tokens = torch.randn(2, 16, 8, requires_grad=True)
    loss, errors = readers(tokens, single, pair)
    assert torch.isfinite(loss) and set(errors) == {*SINGLE, "distance"}
    numbers, _ = readers._tell(
        0, tokens[:, readers.single], single[:, readers.topics[readers.single]][..., 1:]
    )
    moved = torch.autograd.grad(numbers, tokens)[0].abs().sum((0, 2)) > 0
    # only the tokens of the one color that is there
    assert moved.tolist() == [TOKEN_TARGETS[t % 10] == (1,) for t in range(16)]
    levels = soft_bins(torch.tensor([[-1.0], [1.0], [0.5]]), torch.tensor([[-1.0, 1.0]]))
    assert (
        levels.shape == (3, 1, NUM_BINS)
        and levels.argmax(-1).flatten().tolist() == [0, NUM_BINS - 1, 14]
        and torch.allclose(levels.sum(-1), torch.ones(3, 1))
    )
    # so few tokens that none is left for a pair
    assert torch.isfinite(ProbeHeads(4, 8, 8)(torch.randn(2, 4, 8), single, pair)[0])


def test_muon_moves_matrices_along_orthogonal_ways():
    model = torch.nn.ModuleList(
        [torch.nn.Embedding(5, 8), torch.nn.Linear(8, 6), torch.nn.Linear(8, 5, bias=False)]
    )
    # a head tied to the embeddings is no map between spaces
    model[2].weight = model[0].weight
    matrices, others = parameter_groups([model, model], 1e-3)
    assert (
        [p.shape for p in matrices["params"]] == [(6, 8)]
        and sum(p.numel() for p in others["params"]) == 46
        and matrices["lr"] == 5 * others["lr"]
    )
    before = model[1].weight.detach().clone()
    optimizer = Muon([matrices, others], 1e-3, weight_decay=0.0)
    model[1].weight.grad = torch.randn(6, 8) @ torch.diag(torch.tensor([9.0, 5, 2, 1, 1, 1, 1, 1]))
    optimizer.step()
    moved = torch.linalg.svdvals((before - model[1].weight.detach()) / 5e-3)
    assert (
        moved.max() / moved.min()
        < torch.linalg.svdvals(model[1].weight.grad).max()
        / torch.linalg.svdvals(model[1].weight.grad).min()
        / 2
    )
    assert (
        moved.max() < 1.3
        and "momentum" in optimizer.state[model[1].weight]
        and not optimizer.state[model[0].weight]
    )


def test_answer_loss_equals_the_models_own(data):
    processor = build_processor(TINY, train_tokenizer(["left"], TINY.text_config.vocab_size))
    image = data / "spar/synthetic/images/room0/image_color/0.jpg"
    batch = Collator(processor, ImageLoader(48))(
        [
            conversation("a", (image,), ("q", "yes"), ("r", "1.25")),
            conversation("b", (image, image), ("qq", "no")),
        ]
    )
    model = build_model(TINY, processor)
    loss = answer_loss(model, batch)
    own = model(**batch).loss
    assert torch.isclose(loss, own, rtol=1e-5)
    loss.backward()
    ours = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    own.backward()
    assert all(
        torch.allclose(ours[name], p.grad, atol=1e-6)
        for name, p in model.named_parameters()
        if p.grad is not None
    )


def test_four_bits_are_where_they_were_ordered(trained):
    model, _ = load_model(trained.base, quantize="nf4")
    counts = linear_counts(model)
    assert (
        counts["text"]["4-bit"] == counts["text"]["all"] == 7
        and counts["vision"]["4-bit"]
        == counts["connector"]["4-bit"]
        == counts["head"]["4-bit"]
        == 0
    )
    both, _ = load_model(trained.base, quantize="nf4", quantized_modules=("text", "vision"))
    assert linear_counts(both)["vision"]["4-bit"] == 6
    assert not any(
        module.support_avx512bf16_for_cpu
        for module in both.modules()
        if type(module).__name__ == "Linear4bit"
    )
    with pytest.raises(ValueError, match="do not hold 'text'"):
        load_model(trained.base, quantize="nf4", quantized_modules=("vision",))


@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_gradients_reach_every_adapted_tower_also_after_an_evaluation(
    trained, data, gradient_checkpointing
):
    model, processor = load_model(trained.base, quantize="nf4")
    model = attach_lora(
        model,
        LoraParams(r=2, target_modules=("text", "vision")),
        gradient_checkpointing=gradient_checkpointing,
    )
    assert (
        any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
        == gradient_checkpointing
    )
    batch = Collator(processor, ImageLoader(48))(
        [conversation("a", (data / "spar/synthetic/images/room0/image_color/0.jpg",), ("q", "yes"))]
    )

    def norms():
        model.train()
        model.zero_grad()
        answer_loss(model, batch).backward()
        return gradient_norms(model)

    first = norms()
    assert set(first) == {"text", "vision"} and min(first.values()) > 0
    with torch.no_grad():
        model.eval()(**batch)
    assert norms() == first
    with pytest.raises(ValueError, match="no linear layer in its connector tower"):
        adapted_layers(
            torch.nn.ModuleDict({"text": torch.nn.Linear(2, 2), "visual": torch.nn.Linear(2, 2)}),
            LoraParams(),
        )


def test_run_leaves_base_adapter_log_and_summary(trained):
    summary = json.loads(trained.summary.read_text())
    assert (
        summary["linear_layers"]["text"]["4-bit"] == 7
        and summary["trainable"] > 0
        and summary["samples"] == 48
        and summary["shown"] == 24
    )
    assert [(row["stage"], row["step"]) for row in trainer.read_log(trained.log)] == [
        ("vision_warmup", 2),
        ("grounding", 2),
        ("grounding", 4),
        ("finetune", 2),
        ("finetune", 4),
        ("finetune", 6),
    ]
    model, _ = load_model(trained.adapter)
    assert linear_counts(model)["text"]["4-bit"] == 7
    changed = weights(trained.adapter)
    assert any(
        value.abs().sum() > 0 for name, value in changed.items() if "lora_B" in name
    ) and any("embed_tokens" in name for name in changed)


def test_second_run_takes_what_is_there(trained, data, monkeypatch):
    monkeypatch.setattr(stages, "train_stage", lambda *a, **k: pytest.fail("trained again"))
    before = trained.adapter.stat().st_mtime_ns
    assert stages.train(PARAMS, data, trained.base.parent, progress=False) == trained
    assert trained.adapter.stat().st_mtime_ns == before


@pytest.mark.parametrize("stage, step", [("grounding", 3), ("finetune", 5)])
def test_a_killed_run_ends_at_the_same_weights(trained, data, tmp_path, monkeypatch, stage, step):
    class Killed(BaseException):
        pass

    real = trainer._Log.on_step_end

    def dies(self, args, state, control, **kwargs):
        real(self, args, state, control, **kwargs)
        if self.stage == stage and state.global_step == step:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(trainer._Log, "on_step_end", dies)
        with pytest.raises(Killed):
            stages.train(PARAMS, data, tmp_path, progress=False)
    # a checkpoint that was being written: no mark, not used
    broken = tmp_path / f"stages/{stage}/checkpoint-99"
    broken.mkdir()
    result = stages.train(PARAMS, data, tmp_path, progress=False)
    for name in ("base", "adapter"):
        one = weights(tmp_path / name)
        other = weights(trained.base.parent / name)
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    drop = ("seconds", "samples_per_second")
    assert [
        {k: v for k, v in row.items() if k not in drop} for row in trainer.read_log(result.log)
    ] == [{k: v for k, v in row.items() if k not in drop} for row in trainer.read_log(trained.log)]


def test_other_parameters_train_anew_but_keep_the_base(trained, data, tmp_path):
    shutil.copytree(trained.base.parent, tmp_path / "run")
    base = (tmp_path / "run/base/spar_kit.json").stat().st_mtime_ns
    stages.train(
        changed(finetune=changed(PARAMS.finetune, max_steps=2, save_steps=0)),
        data,
        tmp_path / "run",
        progress=False,
    )
    assert (tmp_path / "run/base/spar_kit.json").stat().st_mtime_ns == base
    assert [
        row["step"]
        for row in trainer.read_log(tmp_path / "run/log.jsonl")
        if row["stage"] == "finetune"
    ] == [2]


def test_parameters_are_checked(data, tmp_path):
    for wrong, where in (
        (
            {"grounding": {"max_step": 1}},
            "grounding.max_step: is unknown; did you mean 'max_steps'",
        ),
        ({"seed": "x"}, "seed: input should be a valid integer"),
        (
            {"lora": {"quantize": "int8"}},
            "lora.quantize: input should be 'none' or 'nf4', not \"int8\"",
        ),
        (
            {"lora": {"target_modules": "text"}},
            "lora.target_modules: input should be a valid tuple",
        ),
        ({"vlm_config": {"vision_config": {"image_size": 100}}}, "vlm_config: image_size 100"),
        ({"finetune": 3}, "finetune: input should be a valid dictionary"),
        ({"gradient_checkpointing": 1}, "valid boolean"),
    ):
        with pytest.raises(ValueError, match=where.replace("[", r"\[")):
            TrainParams.from_dict(wrong)
    with pytest.raises(ValueError, match="no train questions of tasks room_size"):
        stages.train(changed(tasks="room_size"), data, tmp_path, progress=False)


def test_the_first_stage_ends_with_spar_in_every_second_batch(data):
    params = changed(
        grounding=changed(PARAMS.grounding, max_steps=10, batch_size=4), spar_share=0.6
    )
    samples = list(samples_from_records(data, "train"))
    processor = build_processor(TINY, train_tokenizer(["left"], TINY.text_config.vocab_size))
    plan = stages._plan_first(params, samples, processor)
    assert [len(batch) for batch in plan] == [4, 4, 4, 4, 4, 8, 4, 8, 4, 8]
    for step, batch in enumerate(plan):
        assert (
            all(k < len(samples) for k in batch)
            if len(batch) == 8
            else batch == [len(samples) + k for k in range(4 * step, 4 * step + 4)]
        )
    assert all(
        len(batch) == 4
        for batch in stages._plan_first(changed(params, spar_share=0.0), samples, processor)
    )


def test_the_log_counts_what_was_shown(tmp_path, monkeypatch):
    log = trainer._Log("late", [0, 4, 12], tmp_path / "log.jsonl", False)
    clock = iter([100.0, 102.0, 104.0])
    monkeypatch.setattr(trainer.time, "time", lambda: next(clock))
    log.on_train_begin(None, SimpleNamespace(global_step=0), None)
    for step in (1, 2):
        log.on_log(None, SimpleNamespace(global_step=step), None, {"loss": 1.0})
    assert [row["samples_per_second"] for row in trainer.read_log(tmp_path / "log.jsonl")] == [
        2.0,
        4.0,
    ]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("settings", {"lora": {"bogus": 1}}, "lora.bogus: is unknown"),
        ("settings", {"optim": "adamm"}, "optim: unknown 'adamm'"),
        ("formats", {"fil": 1.0}, "did you mean 'fill'"),
        ("formats", {"fill": -1.0}, "greater than or equal to 0, not -1"),
        ("max_steps", -3, "greater than or equal to 0, not -3"),
        ("vision_warmup_max_steps", -1, "greater than or equal to 0"),
        ("batch_size", 0, "greater than 0, not 0"),
        ("r", 0, "greater than 0, not 0"),
        ("learning_rate", 0.0, "greater than 0, not 0"),
        ("learning_rate", float("nan"), "learning_rate: input should be"),
    ],
)
def test_a_sweep_refuses_what_no_training_can_use_before_any_step(name, value, said):
    from pathlib import Path

    from spar_kit.core.yaml_file import ParamsError
    from spar_kit.runs.plan import check_values

    notebook = Path(__file__).parents[1] / "nbs/studies/train.ipynb"
    with pytest.raises(ParamsError, match=said) as caught:
        check_values({name: value}, notebook, "plan.yaml", {}, ("steps", "train", "params"))
    assert f"steps.train.params.{name}" in str(caught.value)
