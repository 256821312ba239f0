"""Files, functions and parameter lists stay small; entry points stay tables of contents."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import pytest

FILE_LINES, MEDIAN_LINES, FUNCTION_LINES, PARAMETERS = 300, 150, 60, 6
ENTRY_LINES = {"serve_app.py": 30, "train_app.py": 80}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def modules(tree: Path) -> list[Path]:
    return sorted((tree / "recray").rglob("*.py"))


def functions(file: Path) -> Iterator[Function]:
    yield from (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, Function))


def long_files(tree: Path) -> list[str]:
    sizes = {file: len(file.read_text().splitlines()) for file in modules(tree)}
    return [f"{file.relative_to(tree)} has {n} lines; at most {FILE_LINES}" for file, n in sizes.items() if n > FILE_LINES]


def median_lines(tree: Path) -> float:
    """Median over files that hold more than a docstring."""
    sizes = [len(file.read_text().splitlines()) for file in modules(tree) if file.name != "__init__.py"]
    return median(sizes)


def long_functions(tree: Path) -> list[str]:
    return [
        f"{file.relative_to(tree)}:{f.lineno} {f.name} has {f.end_lineno - f.lineno + 1} lines; at most {FUNCTION_LINES}"
        for file in modules(tree)
        for f in functions(file)
        if f.end_lineno and f.end_lineno - f.lineno >= FUNCTION_LINES
    ]


def parameters(function: Function) -> list[str]:
    given = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
    return [argument.arg for argument in given if argument.arg not in {"self", "cls"}]


def wide_functions(tree: Path) -> list[str]:
    """Functions of too many parameters, but for routes and commands (an interface), and where a reason is given."""
    faults = []
    for file in modules(tree):
        lines = file.read_text().splitlines()
        for f in functions(file):
            reasoned = re.search(r"# noqa: PLR0913 +# \w", lines[f.lineno - 1])
            if len(parameters(f)) > PARAMETERS and not f.decorator_list and not reasoned:
                faults.append(f"{file.relative_to(tree)}:{f.lineno} {f.name} takes {len(parameters(f))}; at most {PARAMETERS}")
    return faults


def fat_entries(tree: Path) -> list[str]:
    faults = []
    for name, limit in ENTRY_LINES.items():
        file = tree / name
        if not file.exists():
            faults.append(f"{name} is missing")
            continue
        parsed = ast.parse(file.read_text())
        if (n := len(file.read_text().splitlines())) > limit:
            faults.append(f"{name} has {n} lines; at most {limit}")
        faults += [f"{name} defines class {node.name}" for node in parsed.body if isinstance(node, ast.ClassDef)]
    return faults


@pytest.mark.parametrize("faults", [long_files, long_functions, wide_functions, fat_entries])
def test_sizes_are_kept(root: Path, faults: Callable[[Path], list[str]]) -> None:
    assert faults(root) == []


def test_median_file_is_short(root: Path) -> None:
    assert median_lines(root) <= MEDIAN_LINES


@pytest.mark.parametrize(
    ("faults", "path", "text"),
    [
        (long_files, "recray/a.py", "x = 1\n" * 301),
        (long_functions, "recray/a.py", "def f():\n" + "    x = 1\n" * 60),
        (wide_functions, "recray/a.py", "class A:\n    def f(self, a, b, c, d, *, e, f, g): ...\n"),
        (wide_functions, "recray/a.py", "def f(a, b, c, d, *, e, f, g): ...  # noqa: PLR0913\n"),
        (fat_entries, "serve_app.py", "x = 1\n" * 31),
        (fat_entries, "train_app.py", "class A: ...\n"),
    ],
)
def test_a_planted_fault_is_found(
    plant: Callable[[str, str], Path], faults: Callable[[Path], list[str]], path: str, text: str
) -> None:
    assert any(Path(path).name in fault for fault in faults(plant(path, text)))


def test_missing_entry_points_are_found(tmp_path: Path) -> None:
    assert fat_entries(tmp_path) == ["serve_app.py is missing", "train_app.py is missing"]


def test_a_long_median_is_found(plant: Callable[[str, str], Path]) -> None:
    assert median_lines(plant("recray/a.py", "x = 1\n" * 151)) > MEDIAN_LINES
