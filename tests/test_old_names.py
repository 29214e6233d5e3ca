"""Names of parameters and paths of before are accepted for one version, with a warning that gives
the new one."""

import json
import warnings
from pathlib import Path

import pytest

from spar_kit.cli.main import main
from spar_kit.core.parameters import OLD_NAMES, ParamsError
from spar_kit.core.yaml_file import read_yaml
from spar_kit.runs.plan import check_values, load_plan, notebook_parameters
from spar_kit.train.config import LoraParams, SmallVLMConfig, StageParams, TrainParams

ROOT = Path(__file__).parents[1]
TRAIN = ROOT / "nbs/studies/train.ipynb"

OLD = """vlm: {image_size: 96, patch_size: 12, shuffle: 2, vision_width: 64, text_heads: 2, vocabulary: 500, positions: 900}
picture: 96
eyes: {steps: 3, batch: 4, warmup: 0.1, save_every: 2, log_every: 1}
basics: 0.1
spoken: 0.5
spar:
  steps: 5
  accumulate: 2
lora: {rank: 4, alpha: 8, dropout: 0.1, towers: [text], quantized: [text], embeddings: true}
optimizer: muon
checkpointing: true
workers: 0
max_tokens: 99
"""  # noqa: E501


def told(call, *args):
    """What a call returns or how it fails, and the FutureWarnings before."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = call(*args)
        except ParamsError as error:
            result = str(error)
    return result, [warning for warning in caught if warning.category is FutureWarning]


def test_a_training_with_old_names_is_the_one_with_new_names(tmp_path):
    file = tmp_path / "old.yaml"
    file.write_text(OLD)
    old, said = told(TrainParams.from_dict, read_yaml(file)[0], file, read_yaml(file)[1])
    new = TrainParams.from_dict(
        {
            "vlm_config": {
                "vision_config": {"image_size": 96, "patch_size": 12, "hidden_size": 64},
                "scale_factor": 2,
                "text_config": {
                    "num_attention_heads": 2,
                    "vocab_size": 500,
                    "max_position_embeddings": 900,
                },
            },
            "image_size": 96,
            "vision_warmup": {
                "max_steps": 3,
                "batch_size": 4,
                "warmup_ratio": 0.1,
                "save_steps": 2,
                "logging_steps": 1,
            },
            "localization_share": 0.1,
            "spar_share": 0.5,
            "finetune": {"max_steps": 5, "gradient_accumulation_steps": 2},
            "lora": {
                "r": 4,
                "lora_alpha": 8,
                "lora_dropout": 0.1,
                "target_modules": ["text"],
                "quantized_modules": ["text"],
                "train_embeddings": True,
            },
            "optim": "muon",
            "gradient_checkpointing": True,
            "dataloader_num_workers": 0,
            "max_length": 99,
        }
    )
    assert old == new
    lines = {
        str(warning.message).split(";")[0]: (warning.filename, warning.lineno) for warning in said
    }
    assert lines["finetune.steps is now finetune.max_steps"] == (str(file), 7)
    assert lines["optimizer is now optim"] == (str(file), 10)
    assert len(said) == 30


def test_an_error_under_an_old_name_has_its_line(tmp_path):
    file = tmp_path / "old.yaml"
    file.write_text(OLD.replace("steps: 5", "steps: -5"))
    assert told(TrainParams.from_dict, read_yaml(file)[0], file, read_yaml(file)[1])[0].startswith(
        f"{file}:7: finetune.max_steps: "
    )
    file.write_text("spar: {steps: 1}\nfinetune: {max_steps: 1}\n")
    assert told(TrainParams.from_dict, read_yaml(file)[0], file, read_yaml(file)[1])[0].startswith(
        f"{file}:1: spar: is the old name of finetune, which is given too"
    )


def test_the_table_names_fields_that_exist():
    for row, model in (("train", TrainParams), ("stage", StageParams), ("lora", LoraParams)):
        assert set(OLD_NAMES[row].values()) <= set(model.model_fields) and not set(
            OLD_NAMES[row]
        ) & set(model.model_fields)
    for new in OLD_NAMES["vlm"].values():
        part, _, name = new.rpartition(".")
        model = SmallVLMConfig.model_fields[part].annotation if part else SmallVLMConfig
        assert name in model.model_fields
    assert set(OLD_NAMES["study"].values()) <= set(notebook_parameters(TRAIN))


def plan(tmp_path, params, grid="{}"):
    (tmp_path / "my.yaml").write_text(
        f"name: my\nsteps:\n  train:\n    notebook: {TRAIN}\n    params: {params}\n    grid:"
        f" {grid}\n"
    )
    return tmp_path / "my.yaml"


def test_a_study_with_old_names(tmp_path):
    file = plan(
        tmp_path, "{eyes_steps: 3, steps: 4, batch: 5, alpha: 8.0}", "{rank: [2, 4], workers: [0]}"
    )
    made, said = told(load_plan, file, ["train.grounding_steps=7"])
    step = made.steps["train"]
    assert step.params == {
        "vision_warmup_max_steps": 3,
        "max_steps": 4,
        "batch_size": 5,
        "lora_alpha": 8.0,
        "grounding_max_steps": 7,
    }
    assert step.grid == {"r": [2, 4], "dataloader_num_workers": [0]}
    assert {(warning.filename, warning.lineno) for warning in said} == {
        (str(file), 5),
        (str(file), 6),
        ("--set train.grounding_steps=7", 1),
    } and len(said) == 7
    assert told(load_plan, file, ["train.rank=9"])[0].steps["train"].grid == {
        "dataloader_num_workers": [0]
    }, "an old name replaces a grid too"
    assert told(load_plan, plan(tmp_path, "{rank: 2, r: 3}"))[0].startswith(
        f"{file}:5: steps.train.params.rank: is the old name of r, which is given too"
    )
    assert told(load_plan, plan(tmp_path, "{steps: -2}"))[0].startswith(
        f"{file}:5: steps.train.params.max_steps: "
    )


def test_settings_of_a_study_may_have_old_names():
    _, said = told(
        check_values,
        {"settings": {"lora": {"towers": ["text"]}, "optimizer": "muon"}},
        TRAIN,
        "plan.yaml",
        {},
        (),
    )
    assert sorted(str(warning.message).split(";")[0] for warning in said) == [
        "lora.towers is now lora.target_modules",
        "optimizer is now optim",
    ]


@pytest.mark.parametrize(
    "words, says",
    [
        (
            ["sweep", "params/training/train.yaml"],
            "is a training, not a study; type: spar train params/training/train.yaml",
        ),
        (
            ["train", "params/studies/demo.yaml"],
            "is a study, not a training; type: spar sweep params/studies/demo.yaml",
        ),
        (
            ["sweep", "params/demo.yaml"],
            "params/demo.yaml: has moved; type: spar sweep params/studies/demo.yaml",
        ),
        (
            ["train", "params/train.yaml"],
            "params/train.yaml: has moved; type: spar train params/training/train.yaml",
        ),
        (["train", "params/nowhere.yaml"], "params/nowhere.yaml"),
    ],
)
def test_a_file_of_the_other_command(monkeypatch, capsys, words, says):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as left:
        main(words)
    error = capsys.readouterr().err
    assert left.value.code == 2 and says in error and error.count("\n") == 1


def test_what_lies_beside_a_model_of_before_is_read(tmp_path):
    pytest.importorskip("torch")
    from spar_kit.train.models import read_metadata
    from spar_kit.train.trainer import read_log

    (tmp_path / "spar_kit.json").write_text(
        json.dumps(
            {
                "base": "../base",
                "quantize": "nf4",
                "towers": ["text"],
                "picture": 128,
                "marker_scale": 2.5,
            }
        )
    )
    assert read_metadata(tmp_path) == {
        "base": "../base",
        "quantize": "nf4",
        "quantized_modules": ["text"],
        "image_size": 128,
        "marker_scale": 2.5,
    }
    (tmp_path / "log.jsonl").write_text(
        "".join(
            json.dumps({"stage": stage, "step": 1}) + "\n"
            for stage in ("eyes", "grounding", "spar")
        )
    )
    assert [row["stage"] for row in read_log(tmp_path / "log.jsonl")] == [
        "vision_warmup",
        "grounding",
        "finetune",
    ]
