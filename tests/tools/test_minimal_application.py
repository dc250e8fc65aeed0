"""A new folder in apps/ is enough: an application with torch alone works with all tools."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT

FILES = {
    "conf/toy.yaml": """
        defaults: [base, optimizer: sgd, trainer: default, _self_, debug: none]
        app: toy
        model: {name: linear}
        data: {name: blobs}
        trainer: {epochs: 1, batch_size: 8}
    """,
    "apps/toy/__main__.py": """
        from apps.toy.config import Config
        from shared.cli import main
        main("toy", Config, train_module="apps.toy.train")
    """,
    "apps/toy/config.py": """
        from typing import Literal
        from shared.config import AppConfig, Data, Section
        class Linear(Section):
            name: Literal["linear"]
        class Blobs(Data):
            name: Literal["blobs"]
        class Config(AppConfig):
            app: Literal["toy"]
            framework: Literal["torch"]
            model: Linear
            data: Blobs
    """,
    "apps/toy/torch_model.py": """
        from torch import nn
        def build_model(config):
            return nn.Linear(2, 2)
    """,
    "apps/toy/data.py": """
        from types import SimpleNamespace
        import numpy as np
        from shared.data.examples import Examples
        def load_data(config):
            return SimpleNamespace(name="blobs", source="generated", sha256="0" * 64, embedded=False)
        def split(data, config):
            labels = np.arange(40) % 2
            inputs = (np.random.default_rng(0).normal(size=(40, 2)) + 3 * labels[:, None]).astype(np.float32)
            return Examples(inputs, labels), None, Examples(inputs, labels)
    """,
    "apps/toy/train.py": """
        from apps.toy.data import load_data, split
        from shared.runs.environment import initial_metrics
        from shared.runs.folder import RunFolder
        from shared.training import frameworks
        from shared.training.loop import evaluate, fit
        from shared.training.run_state import save_weights
        def train(config):
            config = frameworks.resolve_auto(config)
            data = load_data(config)
            train_set, _, test_set = split(data, config)
            run = RunFolder.open(config)
            run.metrics |= initial_metrics(config, data, train_set, None, test_set)
            with run.session():
                learner = build_learner(config, data)
                fit(learner, train_set, None, config, run)
                test = evaluate(learner, test_set)
                run.metrics |= {"test_accuracy": test.accuracy, "test_loss": test.loss}
                save_weights(learner, run)
            return run.metrics
        def build_learner(config, data):
            return frameworks.build_learner("apps.toy", config)
    """,
    "apps/toy/predict.py": """
        import numpy as np
        from apps.toy.config import Config
        from apps.toy.data import load_data, split
        from apps.toy.train import build_learner
        from shared.application import Application, Prediction
        def predict(run, text):
            logits = run.learner.logits(np.array([text.split(",")], np.float32))
            return Prediction(f"{text}: {logits.argmax()}", b"a chart")
        APPLICATION = Application(
            "toy", Config, load_data, build_learner, lambda own, data, config: split(data, config)[2], predict
        )
    """,
}


@pytest.mark.slow
def test_an_application_with_torch_alone_works_with_all_tools(tmp_path: Path) -> None:
    for folder in ("apps", "conf", "shared", "tools"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text.replace("\n        ", "\n").lstrip("\n"))
    for words, printed in (
        (["apps.toy", "trainer.threads=1"], ""),
        (["tools.evaluate", "latest"], "the same as in metrics.json, to the last bit"),
        (["tools.predict", "latest", "3,3"], "3,3: "),
        (["tools.export", "latest"], "0 predicted classes differ"),
        (["tools.rerun", "latest"], "the same to the last bit"),
    ):
        command = [sys.executable, "-m", *words]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stderr
        assert printed in result.stdout
