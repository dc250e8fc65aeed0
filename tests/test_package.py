"""The wheel, an environment without every package, and training from Python."""

import importlib
import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import hydra
import pytest

from apps.api import compose, train
from shared import CONF, extras
from shared.errors import ConfigError
from tests.helpers import ROOT
from tests.test_readme import PYTHON_BLOCK

PACKAGES = Path(sysconfig.get_paths()["purelib"])
SMOKE = ["debug=smoke", "trainer.threads=1"]


def create_environment(folder: Path, without: tuple[str, ...] = ()) -> Path:
    """Create a virtual environment with links to the packages of this one; return its site-packages."""
    venv.create(folder, with_pip=False)
    (site,) = folder.glob("lib/python*/site-packages")
    for path in PACKAGES.iterdir():
        if not path.name.startswith(without) and path.suffix != ".pth":
            (site / path.name).symlink_to(path)
    return site


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python of the environment `folder`/.venv in this folder."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [f"{folder}/.venv/bin/python", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def numpy_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone whose .venv has what framework=numpy needs."""
    folder = tmp_path_factory.mktemp("numpy")
    create_environment(folder / ".venv", tuple(name for names in extras.MODULES.values() for name in names))
    for name in ("accuracy_gate", "apps", "conf", "shared", "tools"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def test_numpy_needs_no_extra(numpy_only: Path) -> None:
    result = run(numpy_only, "-m", "apps.xor", "framework=numpy", "hydra.run.dir=run", *SMOKE)
    assert result.returncode == 0, result.stderr
    assert (numpy_only / "run" / "curves.png").exists()


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        ("apps.xor framework=torch", "framework=torch is not installed; run make install extra=torch"),
        pytest.param(
            "apps.xor framework=numpy logger=mlflow",
            "logger=mlflow needs the package mlflow-skinny, which cannot be imported\n"
            "install it with make install extra=tools, or train without it: logger=null",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_is_missing_is_said_with_the_command_that_installs_it(
    words: str, missing: str, numpy_only: Path
) -> None:
    result = run(numpy_only, "-m", *words.split(), "hydra.run.dir=refused")
    assert (result.returncode, result.stdout, result.stderr) == (2, "", f"error: {missing}\n")
    assert not (numpy_only / "refused").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "missing"),
    [
        ("tools.gradcheck case=Linear", "torch is not installed; run make install extra=torch"),
        ("tools.sweep app=xor framework=numpy", "optuna is not installed; run make install extra=tools"),
        ("tools.evaluate RUN", "torch is not installed; run make install extra=torch"),
    ],
)
def test_a_tool_says_what_is_missing(words: str, missing: str, numpy_only: Path) -> None:
    run_folder = numpy_only / "torch_run"
    if not run_folder.exists():
        train(compose("xor", [*SMOKE, f"hydra.run.dir={run_folder}"]))
    result = run(numpy_only, "-m", *words.replace("RUN", str(run_folder)).split())
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1] == f"error: {missing}"
    assert "Traceback" not in result.stderr


def test_extras_are_those_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = project["optional-dependencies"]
    modules = packages_distributions()
    for extra, names in extras.MODULES.items():
        packages = {re.split(r"[\[=>]", line)[0] for line in listed[extra]}
        assert {package for name in names for package in modules[name]} == packages
    assert {*extras.MODULES, "all", "dev"} == listed.keys()


@pytest.mark.slow
def test_a_wheel_works_in_any_folder(tmp_path: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "build", "--quiet", "--offline", "--wheel", "-o", tmp_path], cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = create_environment(tmp_path / ".venv", (*extras.MODULES["keras"], *extras.MODULES["tools"]))
    options = ["--quiet", "--offline", "--no-deps", "--python", f"{tmp_path}/.venv/bin/python"]
    subprocess.run([uv, "pip", "install", *options, wheel], check=True)
    assert (site / "conf" / "base.yaml").exists()

    for framework in ("numpy", "torch"):
        words = [f"framework={framework}", "data=digits", "debug=smoke", "model=mlp"]
        result = run(tmp_path, "-m", "apps.mnist_cnn", *words)
        assert result.returncode == 0, result.stderr
    folders = list(tmp_path.glob("outputs/mnist_cnn/*"))
    assert len(folders) == 2
    assert json.loads((folders[0] / "metrics.json").read_text())["git"] == {"commit": None, "dirty": None}
    assert run(tmp_path, "-m", "tools.evaluate", "latest").returncode == 0
    assert run(tmp_path, "-c", "from shared.backprop import Linear").returncode == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {".gitignore", ".venv", "outputs", wheel.name}

    result = run(tmp_path, "-m", "apps.xor", "framework=keras")
    assert result.returncode == 2
    command = f"python -m pip install 'keras>=3.15,<4' 'tensorflow=={version('tensorflow')[:4]}.*'"
    assert result.stderr == f"error: framework=keras is not installed; run {command}\n"


@pytest.mark.slow
@pytest.mark.parametrize("installed", [False, True])
def test_bash_completes_keys_and_choices(installed: bool, tmp_path: Path) -> None:
    """In a clone, and through the script of docs/usage.md in another folder."""
    program, folder = "python apps/mnist_cnn/__main__.py", ROOT
    install = f"{program} -sc install=bash"
    if installed:
        program, folder = "mnist_cnn", tmp_path
        lines = (ROOT / "docs" / "usage.md").read_text().splitlines()
        (start,) = (number for number, line in enumerate(lines) if line.startswith("    printf '#!/bin/sh"))
        written, executable, evaluated = (
            line.replace("~/.local/bin", str(tmp_path)) for line in lines[start : start + 3]
        )
        subprocess.run(["sh", "-c", f"{written}\n{executable}"], check=True)
        install = evaluated.strip().removeprefix('eval "$(').removesuffix(')"')
    script = f"""
        eval "$({install})"
        COMP_CWORD={len(program.split())}
        for COMP_LINE in "{program} optimizer=ad" "{program} trainer.ep"; do
            hydra_bash_completion
            echo ${{COMPREPLY[@]}}
        done"""
    path = os.pathsep.join([str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    shown = subprocess.check_output(["bash", "-c", script], cwd=folder, env=environment, text=True)
    assert shown.splitlines() == ["optimizer=adagrad optimizer=adam optimizer=adamw", "trainer.epochs="]


def test_training_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = [*SMOKE, "framework=numpy", "optimizer.lr=0.01"]
    (lines,) = PYTHON_BLOCK.findall((ROOT / "docs" / "usage.md").read_text())
    names: dict[str, Any] = {}
    exec(lines.replace('"mnist_cnn", ["optimizer.lr=0.01"]', f'"xor", {words}'), names)
    metrics = names["metrics"]
    (file,) = tmp_path.glob("outputs/xor/*/metrics.json")
    assert json.loads(file.read_text()) == metrics
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        again = train(hydra.compose("xor", words))
        assert hydra.compose("xor").app == "xor"  # still initialized
        for app in ("xor", "mnist_cnn", "gradient_flow"):
            with pytest.raises(ConfigError, match=r"call `compose` and `train` of apps\.api"):
                importlib.import_module(f"apps.{app}.train").train(hydra.compose(app, ["framework=numpy"]))
    assert again["weights_sha256"] == metrics["weights_sha256"]
    assert compose("xor", ["hydra.run.dir=mine"]).run_dir == str(tmp_path / "mine")
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]
    assert len(list(tmp_path.glob("outputs/xor/*/metrics.json"))) == 2


@pytest.mark.parametrize(
    ("app", "override", "message"),
    [
        ("xor", "optimizr.lr=1", "unknown key 'optimizr.lr' (did you mean 'optimizer.lr'?)"),
        ("xor", "run_dir=here", "run_dir: set hydra.run.dir=PATH instead"),
        ("xor", "optimizer.lr=0", "optimizer.lr should be greater than 0"),
        ("cnn", "seed=1", "unknown application 'cnn'; choose from attention, gradient_flow"),
    ],
)
def test_a_wrong_configuration_is_refused_as_on_the_command_line(
    app: str, override: str, message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        compose(app, [override])
    assert str(error.value).startswith(message)


IN_ONE_PROCESS = """
import sys
from apps.api import compose, train

for number, framework in enumerate(sys.argv[1:]):
    words = [f"framework={framework}", "data=digits", "debug=smoke", f"hydra.run.dir={number}"]
    print("weights", train(compose("mnist_cnn", words))["weights_sha256"], flush=True)
"""


def weights_of(folder: Path, *frameworks: str) -> list[str]:
    """Train with each framework in one process; return the digests of the weights."""
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", IN_ONE_PROCESS, *frameworks]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return [line.split()[1] for line in result.stdout.splitlines() if line.startswith("weights")]


@pytest.mark.slow
def test_several_trainings_in_a_process_give_the_bits_of_one_each(tmp_path: Path) -> None:
    alone = {name: weights_of(tmp_path / name, name)[0] for name in ("numpy", "torch", "keras")}
    assert len(set(alone.values())) == 3
    for names in (["torch", "keras", "torch", "numpy"], ["keras", "torch", "numpy", "keras"]):
        assert weights_of(tmp_path / "-".join(names), *names) == [alone[name] for name in names]
