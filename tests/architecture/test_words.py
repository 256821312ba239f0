"""What never stands in the code: words the glossary refuses, calls that differ between machines, files that say nothing."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_PICKLING = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "_pickle"}
_LOADING = {("torch", "load"), ("torch", "save"), ("pd", "read_pickle"), ("pandas", "read_pickle"), ("jit", "load")}
_EMPTY_NAMES = {"utils", "util", "common", "helpers", "helper", "misc", "manager"}


def parsed(tree: Path) -> Iterator[tuple[str, ast.Module]]:
    for file in sorted((tree / "recray").rglob("*.py")):
        yield str(file.relative_to(tree)), ast.parse(file.read_text())


def refused_words(glossary: Path) -> set[str]:
    """Words in code type in the glossary's last column."""
    rows = [line.split("|") for line in glossary.read_text().splitlines() if line.startswith("| ")]
    return {word for row in rows if len(row) >= 5 for word in re.findall(r"`([a-z_]+)`", row[3])}


def named(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Names that a node gives to something of ours."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name, node.lineno
        case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
            yield name, node.lineno


def banned_identifiers(tree: Path, refused: set[str]) -> list[str]:
    """Names that are, whole and in singular or plural, a word that the glossary refuses."""
    faults = []
    for path, module in parsed(tree):
        for node in ast.walk(module):
            for name, line in named(node):
                snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_")
                if refused & {snake, snake.removesuffix("s")}:
                    faults.append(f"{path}:{line} {name}")
    return faults


def builtin_hashes(tree: Path) -> list[str]:
    """Calls of the builtin hash, which differs from process to process."""
    return [
        f"{path}:{node.lineno}"
        for path, module in parsed(tree)
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "hash"
    ]


def pickles(tree: Path) -> list[str]:
    """Imports of modules that pickle, and calls that read or write pickles."""
    faults = []
    for path, module in parsed(tree):
        for node in ast.walk(module):
            match node:
                case ast.Import(names=names):
                    found = any(name.name.split(".")[0] in _PICKLING for name in names)
                case ast.ImportFrom(module=str(name)):
                    found = name.split(".")[0] in _PICKLING
                case ast.Attribute(value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr=attribute):
                    found = (owner, attribute) in _LOADING or attribute == "to_pickle"
                case ast.keyword(arg="allow_pickle", value=ast.Constant(value=True)):
                    found = True
                case _:
                    found = False
            if found:
                faults.append(f"{path}:{getattr(node, 'lineno', 0)}")
    return faults


def prints(tree: Path) -> list[str]:
    """Calls of print outside the command line."""
    return [
        f"{path}:{node.lineno}"
        for path, module in parsed(tree)
        if not path.startswith("recray/cli")
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]


def empty_names(tree: Path) -> list[str]:
    """Modules and folders named for nothing in particular."""
    paths = [path.relative_to(tree) for path in (tree / "recray").rglob("*") if path.suffix == ".py" or path.is_dir()]
    return [str(path) for path in paths if set(path.stem.split("_")) & _EMPTY_NAMES]


def outside_paths(tree: Path) -> list[str]:
    """Package files that know where the checkout lies."""
    known = re.compile("|".join((r"\.\./shared", r"(?<![\w.])/(?:work|root)\b/")))
    texts = [path for path in (tree / "recray").rglob("*") if path.suffix in {".py", ".js", ".html", ".css", ".yaml"}]
    return [str(path.relative_to(tree)) for path in texts if known.search(path.read_text())]


CHECKS = {
    builtin_hashes: "hash(user_id)\n",
    pickles: "import torch\ntorch.load('x')\n",
    prints: "print('x')\n",
    outside_paths: "PATH = '../shared/data'\n",
}


@pytest.mark.parametrize("faults", [*CHECKS, empty_names])
def test_nothing_banned_stands_in_the_package(root: Path, faults: Callable[[Path], list[str]]) -> None:
    assert faults(root) == []


def test_no_identifier_is_a_word_that_the_glossary_refuses(root: Path) -> None:
    refused = refused_words(root / "docs" / "glossary.md")
    assert len(refused) > 15
    assert banned_identifiers(root, refused) == []


@pytest.mark.parametrize(("faults", "text"), CHECKS.items())
def test_a_planted_call_is_found(plant: Callable[[str, str], Path], faults: Callable[[Path], list[str]], text: str) -> None:
    assert len(faults(plant("recray/a.py", text))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "import pickle\n",
        "from cloudpickle import loads\n",
        "import pandas as pd\npd.read_pickle('x')\n",
        "np.load('x', allow_pickle=True)\n",
    ],
)
def test_a_planted_pickle_is_found(plant: Callable[[str, str], Path], text: str) -> None:
    assert len(pickles(plant("recray/a.py", text))) == 1


@pytest.mark.parametrize("name", ["recray/utils.py", "recray/ray_helpers.py", "recray/common/__init__.py"])
def test_a_planted_name_is_found(plant: Callable[[str, str], Path], name: str) -> None:
    assert empty_names(plant(name, "")) != []


@pytest.mark.parametrize(
    "text", ["def exposures(): ...\n", "class PScore: ...\n", "exposure = 1\n", "def f(exposure): ...\n", "a.exposure = 1\n"]
)
def test_a_planted_word_is_found(plant: Callable[[str, str], Path], text: str) -> None:
    glossary = plant(
        "glossary.md", "| word | meaning | not |\n|---|---|---|\n| impression | visible | `exposure`, `p_score`, plain |\n"
    )
    assert refused_words(glossary / "glossary.md") == {"exposure", "p_score"}
    assert len(banned_identifiers(plant("recray/a.py", text), {"exposure", "pscore"})) == 1
