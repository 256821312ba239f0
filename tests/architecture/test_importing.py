"""Importing a module does nothing: no file, no log handler, no thread, no change of the environment."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

_PROBE = """
import ast, importlib, json, logging, os, pathlib, sys, threading, warnings

tree, modules = pathlib.Path(sys.argv[1]), sys.argv[2:]
sys.path.insert(0, str(tree))
sys.dont_write_bytecode = True
warnings.simplefilter("ignore")

def file_of(module):
    path = tree.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")

# What libraries do when they are imported is theirs: they come first.
for module in modules:
    for node in ast.parse(file_of(module).read_text()).body:
        names = [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in getattr(node, "names", []) if a.name]
        for name in names:
            if name and not name.startswith("recray"):
                importlib.import_module(name)

def look():
    homes = {pathlib.Path.cwd(), pathlib.Path.home()}
    ours = [name for name in list(logging.root.manager.loggerDict) if name.startswith("recray")]
    loggers = [logging.getLogger(name) for name in (None, *ours)]
    return {
        "files": sorted(str(p) for home in homes for p in home.rglob("*")),
        "handlers": sorted(f"{l.name}: {h}" for l in loggers for h in l.handlers),
        "level": logging.getLogger().level,
        "environment": dict(os.environ),
        "threads": sorted(t.name for t in threading.enumerate()),
        "directory": os.getcwd(),
    }

faults = []
before = look()
for module in modules:
    importlib.import_module(module)
    after = look()
    faults += [f"{module} changes {what}" for what in before if before[what] != after[what]]
    before = after
print(json.dumps(faults))
"""


def side_effects(tree: Path, modules: list[str], empty: Path) -> list[str]:
    """What importing each module, in this order, in a clean process with an empty home changes."""
    empty.mkdir(exist_ok=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RECRAY_", "PYTEST_"))} | {"HOME": str(empty)}
    ran = subprocess.run(
        [sys.executable, "-c", _PROBE, str(tree), *modules],
        cwd=empty,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def every_module(tree: Path) -> list[str]:
    found = [file.relative_to(tree).with_suffix("") for file in sorted((tree / "recray").rglob("*.py"))]
    found = [path for path in found if path.name != "__main__"]  # running is what it is for
    return [".".join(path.parts).removesuffix(".__init__") for path in found] + ["train_app"]


def test_importing_any_module_does_nothing(root: Path, tmp_path: Path) -> None:
    assert side_effects(root, every_module(root), tmp_path / "home") == []


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("import pathlib\npathlib.Path('made').mkdir()\n", "files"),
        ("import pathlib\n(pathlib.Path.home() / 'made').touch()\n", "files"),
        ("import logging\nlogging.basicConfig()\n", "handlers"),
        ("import os\nos.environ['SET'] = '1'\n", "environment"),
        ("import threading, time\nthreading.Thread(target=time.sleep, args=(2,), daemon=True).start()\n", "threads"),
    ],
)
def test_a_planted_effect_is_found(plant: Callable[[str, str], Path], tmp_path: Path, text: str, what: str) -> None:
    assert side_effects(plant("planted.py", text), ["planted"], tmp_path / "home") == [f"planted changes {what}"]


_HEAVY = ("torch", "xgboost", "sklearn", "scipy.stats", "implicit", "wandb")


def heavy(statement: str, root: Path, libraries: tuple[str, ...] = _HEAVY) -> list[str]:
    """What a process has imported after a statement, of libraries that take seconds."""
    code = f"import sys; {statement}; print([name for name in {libraries} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120, check=True)
    return ast.literal_eval(ran.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "module", ["serving.compose", "training.fit_one", "training.trial", "data.examples", "data.publish", "training.board"]
)
def test_a_process_of_many_imports_no_library_that_it_does_without(module: str, root: Path) -> None:
    """What replicas serve with, and tasks of which a training starts dozens."""
    assert heavy(f"import recray.{module}", root) == []


def test_help_waits_for_no_library_that_commands_need(root: Path) -> None:
    assert heavy("import recray.cli", root, (*_HEAVY, "numba", "numpy", "pandas", "polars", "pyarrow", "ray", "redis")) == []


def test_a_library_that_takes_seconds_is_seen(root: Path) -> None:
    assert heavy("import scipy.stats", root) == ["scipy.stats"]
