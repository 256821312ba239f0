"""Imports run one way down, and each contract is seen to break when it is broken."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

PLANTED = {
    "One way down": ("recray/features/planted.py", "import recray.stores.online\n"),
    "Serving never reaches batch code": ("recray/serving/planted.py", "import recray.data\n"),
    "Ray, FastAPI and W&B only in": ("recray/candidates/planted.py", "import ray\n"),
    "The RESP client only in stores": ("recray/ranking/planted.py", "import redis\n"),
}
"""Beginning of a contract's name -> file that breaks it, and it alone."""


def said(tree: Path) -> str:
    """What import-linter prints about a tree."""
    linter = Path(sys.executable).with_name("lint-imports")
    environment = os.environ | {"PYTHONPATH": str(tree), "COLUMNS": "400"}
    ran = subprocess.run([linter, "--no-cache"], cwd=tree, capture_output=True, text=True, env=environment, timeout=60)
    return ran.stdout + ran.stderr


def verdicts(tree: Path) -> dict[str, str]:
    """KEPT or BROKEN for each contract of a tree."""
    text = said(tree)
    found = dict(re.findall(r"^(.+) (KEPT|BROKEN)\b", text, re.MULTILINE))
    assert found, text
    return found


def copied(root: Path, to: Path) -> Path:
    shutil.copytree(root / "recray", to / "recray", ignore=shutil.ignore_patterns("__pycache__", "web"))
    shutil.copy(root / "pyproject.toml", to)
    return to


def declared(root: Path) -> list[str]:
    return [c["name"] for c in tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]]


def test_every_contract_is_kept(root: Path) -> None:
    assert verdicts(root) == dict.fromkeys(declared(root), "KEPT")


def test_every_contract_breaks_when_broken(root: Path, tmp_path: Path) -> None:
    tree = copied(root, tmp_path)
    for path, text in PLANTED.values():
        (tree / path).write_text(f'"""Planted."""\n\n{text}')
    assert verdicts(tree) == dict.fromkeys(declared(root), "BROKEN")
    assert [name for name in declared(root) if not name.startswith(tuple(PLANTED))] == []


def test_a_folder_that_nobody_placed_breaks_the_layers(root: Path, tmp_path: Path) -> None:
    tree = copied(root, tmp_path)
    (tree / "recray" / "sundries").mkdir()
    (tree / "recray" / "sundries" / "__init__.py").write_text('"""Planted."""\n')
    assert "sundries" in said(tree)
