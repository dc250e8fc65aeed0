"""The command that repeats a run really composes to the run's configuration."""

import importlib
import shlex
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from shared import CONF
from shared.compose import compose
from shared.config import validate
from shared.errors import ConfigError
from shared.nested import flat
from shared.runs.reader import read_values
from shared.runs.repeat import PYTHON, rerun_overrides
from tools.runs import rerun_command

APPS = sorted({path.stem for path in CONF.glob("*.yaml")} - {"base"})
CHANGES = [
    ("xor", ["model=published", "optimizer=adam", "optimizer.eps=1e-09"]),
    ("mnist_cnn", ["framework=keras", "model=mlp", "model.hidden=[32,16]", "seed=7"]),
    ("mnist_cnn", ["debug=overfit", "data=digits", "data.shift=3", "trainer.clip_norm=0.5"]),
    ("imdb_rnn", ["model=bow", "data=text_folder", "data.root='my texts, (old)'"]),
    ("attention", ["data=imdb", "optimizer=adamw", "data.fallback=null"]),
    ("attention", ["model=multi_head", "debug=smoke", "data.longer=[]"]),
    ("resnet_transfer", ["data.classes=[cat,dog]", "weights_sha256='12345678'"]),
    ("resnet_transfer", ["debug=smoke", "transfer.mode=compare", "transfer.counts=[5,null]"]),
    ("gradient_flow", ["model.depths=[3]", "trainer.epochs=1"]),
]
HOSTILE_WORDS = (
    "null True 1 1e5 nan it's a\\ a\\'b $HOME ${seed} \\${seed} a,b [a] {a} a=b a:b (a) #a `id` é -a ~ *"
)
HOSTILE = [*HOSTILE_WORDS.split(), "a b", 'say "x"', "; rm", "</script>"]


def values_of(app: str, words: list[str]) -> dict[str, Any]:
    """Return a configuration as config.yaml has it: resolved, with a run folder."""
    values = dict(compose(app, tuple(words)))
    return values | {"run_dir": "outputs/somewhere"}


def without_folder(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != "run_dir"}


@pytest.mark.parametrize(("app", "words"), [*CHANGES, *((app, []) for app in APPS)])
def test_the_command_composes_to_the_same_configuration(app: str, words: list[str]) -> None:
    values = values_of(app, words)
    python, flag, module, *given = shlex.split(rerun_command(values))
    assert (python, flag, module) == (PYTHON, "-m", f"apps.{app}")
    assert without_folder(compose(app, tuple(given))) == without_folder(values)
    assert len(given) <= len(words)


def test_defaults_need_no_words() -> None:
    assert rerun_command(values_of("mnist_cnn", [])) == f"{PYTHON} -m apps.mnist_cnn"


@pytest.mark.parametrize("text", HOSTILE)
def test_any_string_survives_the_command_line(text: str) -> None:
    values = values_of("mnist_cnn", [])
    values["data"] = values["data"] | {"root": text}
    (word,) = rerun_overrides(values)
    (given,) = shlex.split(shlex.join([word]))
    found = compose("mnist_cnn", (given,)) | {"run_dir": ""}
    resolved: Any = OmegaConf.to_container(OmegaConf.create(found), resolve=True)
    assert resolved["data"]["root"] == text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"app": "nobody"}, "no application nobody"),
        ({"app": "../conf/xor"}, "no application"),
        ({"app": "base"}, "no application base"),
        ({"app": {"x": 1}}, "no application"),
        ({"debug": {"x": 1}}, "."),
        ({"model": {"name": "gone"}}, "no model gone"),
        ({"model": None}, "no model None"),
        ({"newer": 1}, "another version: the key newer is unknown"),
    ],
)
def test_a_run_that_no_command_repeats_is_an_error(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        rerun_overrides(values_of("xor", []) | change)


def test_a_run_without_the_pooling_key_used_plain_pooling() -> None:
    values = values_of("mnist_cnn", ["model=fast_cnn"])
    values["model"] = {k: v for k, v in values["model"].items() if k != "pooling"}
    assert rerun_command(values).endswith("apps.mnist_cnn model=fast_cnn model.pooling=plain")
    values = values_of("mnist_cnn", ["model=mlp"])
    assert rerun_command(values).endswith("apps.mnist_cnn model=mlp")


def test_a_missing_key_is_named() -> None:
    values = values_of("xor", [])
    del values["corrections"]
    with pytest.raises(ConfigError, match="the key corrections is missing"):
        rerun_overrides(values)


@pytest.mark.parametrize(("app", "words"), CHANGES[:4])
def test_the_reader_reads_what_omegaconf_writes(app: str, words: list[str], tmp_path: Path) -> None:
    values = values_of(app, words) | {"texts": [*HOSTILE, "2026-01-31", "1_000", "0x1f", "yes"]}
    values |= {"numbers": [1e-8, 1e20, -2.5e-07, 0.1, 3, -1, 1e5]}
    path = tmp_path / "config.yaml"
    path.write_text(OmegaConf.to_yaml(values))
    assert read_values(tmp_path) == values


# Keys that runs before them lack: they need a default in the schema.
NEWER = {"logger", "trace", "pixels", "data.padding", "optimizer.l1"}
NEWER |= {f"trainer.{key}" for key in ("device", "compile", "resume", "checkpoint_seconds", "patience")}
NEWER |= {f"model.{key}" for key in ("init", "pool", "activation")}
NEWER |= {f"model.{key}" for key in ("readout", "embedding_std", "recurrent_dropout")}


# CHANGES[6] is refused by the schema: its dog is also a class of the source task.
@pytest.mark.parametrize(
    ("app", "words"),
    [
        *CHANGES[:6],
        *CHANGES[7:],
        ("mnist_cnn", ["model=mlp"]),
        ("mnist_cnn", ["model=cnn"]),
        ("imdb_rnn", ["model=rnn"]),
        ("xor", []),
    ],
)
def test_a_run_from_before_its_newer_keys_is_repeated(app: str, words: list[str]) -> None:
    """Keys with a default in the schema were added later, so that an older run lacks them."""
    schema = importlib.import_module(f"apps.{app}.config").Config
    whole = validate(schema, values_of(app, words)).model_dump()
    old = validate(schema, whole).model_dump(exclude_defaults=True)
    assert {*flat(whole)} > {*flat(old)}
    assert not NEWER & {*flat(old)}
    assert rerun_command(old) == rerun_command(whole)
