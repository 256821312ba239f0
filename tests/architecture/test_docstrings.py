"""Every public function of the core says what you get."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CORE = (
    "errors", "schema", "settings", "features", "stores", "catalog", "candidates", "ranking", "pages", "experiments",
    "evaluation", "bundle", "recommend",
)  # fmt: skip
Function = ast.FunctionDef | ast.AsyncFunctionDef


def core(tree: Path) -> Iterator[tuple[str, ast.Module]]:
    for name in CORE:
        at = tree / "recray" / name
        for file in sorted(at.rglob("*.py")) if at.is_dir() else [at.with_suffix(".py")]:
            if file.exists():
                yield str(file.relative_to(tree)), ast.parse(file.read_text())


def is_protocol(node: ast.ClassDef) -> bool:
    return any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)


def promised(tree: Path) -> set[str]:
    """Methods that a documented protocol declares; whoever implements one need not say it again."""
    return {
        method.name
        for _, module in core(tree)
        for node in ast.walk(module)
        if isinstance(node, ast.ClassDef) and is_protocol(node) and ast.get_docstring(node)
        for method in node.body
        if isinstance(method, Function)
    }


def is_trivial_property(function: Function) -> bool:
    names = {d.id for d in function.decorator_list if isinstance(d, ast.Name)}
    return bool(names & {"property", "cached_property"}) and len(function.body) == 1


def undocumented(tree: Path) -> list[str]:
    known = promised(tree)
    faults = []
    for path, module in core(tree):
        held = [(None, node) for node in module.body] + [
            (owner, node) for owner in module.body if isinstance(owner, ast.ClassDef) for node in owner.body
        ]
        for owner, node in held:
            if not isinstance(node, Function) or node.name.startswith("_") or ast.get_docstring(node):
                continue
            exempt = owner and (owner.name.startswith("_") or node.name in known or is_trivial_property(node))
            if not exempt:
                faults.append(f"{path}:{node.lineno} {node.name}")
    return faults


def test_every_public_function_of_the_core_has_a_docstring(root: Path) -> None:
    assert undocumented(root) == []


def test_every_part_of_the_core_is_there(root: Path) -> None:
    parts = [root / "recray" / name for name in CORE]
    assert [part.name for part in parts if not part.is_dir() and not part.with_suffix(".py").exists()] == []


@pytest.mark.parametrize(
    "text",
    [
        "def f(): ...\n",
        "class A:\n    def f(self): ...\n",
        "class P(Protocol):\n    def f(self): ...\n",
        "class A:\n    @property\n    def f(self):\n        x = 1\n        return x\n",
    ],
)
def test_a_missing_docstring_is_found(plant: Callable[[str, str], Path], text: str) -> None:
    (fault,) = undocumented(plant("recray/features/a.py", text))
    assert fault.endswith(" f")


@pytest.mark.parametrize(
    "text",
    [
        'class P(Protocol):\n    """Says f."""\n    def f(self): ...\nclass A:\n    def f(self): ...\n',
        "class A:\n    @property\n    def f(self):\n        return 1\n",
        "def _f(): ...\n",
    ],
)
def test_what_is_said_elsewhere_need_not_be_said_again(plant: Callable[[str, str], Path], text: str) -> None:
    assert undocumented(plant("recray/features/a.py", text)) == []
