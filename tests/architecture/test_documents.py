"""Documents and code agree: the request picture, search spaces, references, links, and why a test does not run."""

import ast
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from recray.settings import Settings

_KEY = re.compile(r"\[([A-Z][A-Za-z]+\d{4}[a-z]?)\]")
_LINK = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:|#)([^)#\s]+)[^)]*\)")
_SKIPPING = {"skip", "skipif", "xfail"}


def stages_of_code(recommend: Path) -> list[str]:
    """The value of STAGES, read and not run."""
    for node in ast.parse(recommend.read_text()).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "STAGES" and node.value:
            return list(ast.literal_eval(node.value))
    return []


def stages_of_picture(readme: Path) -> list[str]:
    """Words that follow the numbers 1, 2, 3, ... within the first fenced block that numbers its lines."""
    for block in re.findall(r"```\w*\n(.*?)```", readme.read_text(), re.DOTALL):
        if found := re.findall(r"^[^\w\n]*(\d+)\W+(\w+)", block, re.MULTILINE):
            return [word for _, word in found] if [int(n) for n, _ in found] == list(range(1, len(found) + 1)) else []
    return []


def unknown_paths(folder: Path) -> list[str]:
    """Settings that a search space names and that do not exist; a space without any."""
    faults = []
    for file in sorted(folder.glob("*.yaml")):
        space = (yaml.safe_load(file.read_text()) or {}).get("space") or {}
        if not space:
            faults.append(f"{file.name}: no space")
        faults += [f"{file.name}: {path}" for path in space if not resolves(path)]
    return faults


def resolves(path: str) -> bool:
    """Whether a dotted path names a setting, and not a group of them."""
    kind: object = Settings
    for name in path.split("."):
        if not (isinstance(kind, type) and issubclass(kind, BaseModel) and name in kind.model_fields):
            return False
        kind = kind.model_fields[name].annotation
    return not (isinstance(kind, type) and issubclass(kind, BaseModel))


def unresolved_keys(tree: Path) -> list[str]:
    """Papers that the package cites and docs/references.md does not name, or names twice."""
    named = re.findall(r"^- \*\*\[(\w+)\]\*\* ", (tree / "docs" / "references.md").read_text(), re.MULTILINE)
    cited = {key for file in (tree / "recray").rglob("*.py") for key in _KEY.findall(file.read_text())}
    return sorted(cited - set(named)) + sorted({key for key in named if named.count(key) > 1})


def broken_links(documents: Iterable[Path]) -> list[str]:
    """Relative links to what is not there."""
    return [
        f"{document.name}: {target}"
        for document in documents
        for target in _LINK.findall(document.read_text())
        if not (document.parent / target).exists()
    ]


def paths_of_one_machine(files: Iterable[Path]) -> list[str]:
    """Files that name a folder which only one machine has."""
    known = re.compile(r"(?<![\w.~$})/])/(?:" + "|".join(("work", "root")) + r")/\w")
    faults = []
    for file in files:
        try:
            text = file.read_text()
        except UnicodeDecodeError:
            continue
        faults += [f"{file.name}: {found.group()}" for found in known.finditer(text)]
    return faults


def unreasoned(tree: Path) -> list[str]:
    """Tests that are skipped or expected to fail, and do not say why."""
    faults = []
    for file in sorted(tree.rglob("test_*.py")) + sorted(tree.rglob("conftest.py")):
        parsed = ast.parse(file.read_text())
        reasoned = {id(node.func) for node in ast.walk(parsed) if isinstance(node, ast.Call) and has_reason(node)}
        faults += [
            f"{file.name}:{node.lineno} {node.attr}"
            for node in ast.walk(parsed)
            if isinstance(node, ast.Attribute) and node.attr in _SKIPPING and is_pytest(node.value) and id(node) not in reasoned
        ]
    return faults


def has_reason(call: ast.Call) -> bool:
    said = [word.value for word in call.keywords if word.arg == "reason"]
    if isinstance(call.func, ast.Attribute) and call.func.attr in {"skip", "xfail"}:
        said += call.args[:1]
    return any(not (isinstance(value, ast.Constant) and not value.value) for value in said)


def is_pytest(node: ast.expr) -> bool:
    return ast.unparse(node) in {"pytest", "pytest.mark", "mark"}


def test_readme_draws_the_stages_that_the_code_runs(root: Path) -> None:
    stages = stages_of_code(root / "recray" / "recommend.py")
    assert len(stages) == 6
    assert stages_of_picture(root / "README.md") == stages


def test_every_search_space_names_settings_that_exist(root: Path) -> None:
    assert list((root / "tune_configs").glob("*.yaml")) != []
    assert unknown_paths(root / "tune_configs") == []


def test_every_paper_that_is_cited_is_named_once(root: Path) -> None:
    assert unresolved_keys(root) == []


def test_links_lead_somewhere(files: list[Path]) -> None:
    assert broken_links(file for file in files if file.suffix == ".md") == []


def test_no_file_names_a_folder_of_one_machine(files: list[Path]) -> None:
    assert paths_of_one_machine(files) == []


def test_every_test_that_does_not_run_says_why(root: Path) -> None:
    assert unreasoned(root / "tests") == []


@pytest.mark.parametrize("picture", ["1 assign\n2 candidates\n", "2 assign\n", "assign\n"])
def test_another_picture_is_found(plant: Callable[[str, str], Path], picture: str) -> None:
    tree = plant("recommend.py", 'STAGES: Final = ("assign", "features")\n')
    plant("README.md", f"```\n{picture}```\n")
    assert stages_of_picture(tree / "README.md") != stages_of_code(tree / "recommend.py")


def test_the_same_picture_is_read_with_its_arrows(plant: Callable[[str, str], Path]) -> None:
    tree = plant(
        "README.md",
        "```sh\nmake demo\n```\n\n```\nHTTP -> Gateway\n   |\n   1 assign    arms of 3\n   2 features  state\n```\n",
    )
    assert stages_of_picture(tree / "README.md") == ["assign", "features"]


@pytest.mark.parametrize(
    "text", ["space: {deep.hiden: {}}\n", "space: {deep: {}}\n", "space: {deep.epochs.x: {}}\n", "model: deep\n"]
)
def test_a_planted_path_is_found(plant: Callable[[str, str], Path], text: str) -> None:
    assert len(unknown_paths(plant("a.yaml", text))) == 1
    assert unknown_paths(plant("a.yaml", "space: {deep.epochs: {}}\n")) == []


def test_a_planted_citation_is_found(plant: Callable[[str, str], Path]) -> None:
    plant("docs/references.md", "- **[Known2020]** A. Uthor.\n- **[Twice2020]** A.\n- **[Twice2020]** B.\n")
    assert unresolved_keys(plant("recray/a.py", '"""[Known2020] and [Unknown2020b]."""\n')) == ["Unknown2020b", "Twice2020"]


def test_a_planted_link_is_found(plant: Callable[[str, str], Path]) -> None:
    document = plant("a.md", "[there](a.md#part) [web](https://x.y) [gone](b/c.md)\n") / "a.md"
    assert broken_links([document]) == ["a.md: b/c.md"]


@pytest.mark.parametrize("folder", ["work", "root"])
def test_a_planted_path_of_one_machine_is_found(plant: Callable[[str, str], Path], folder: str) -> None:
    tree = plant("a.yaml", f"at: /{folder}/x\n")
    assert paths_of_one_machine([tree / "a.yaml"]) == [f"a.yaml: /{folder}/x"]
    plant("a.yaml", f"net{folder}/x ~/{folder}/x $HOME/{folder}/x https://x.y/{folder}\n")
    assert paths_of_one_machine([tree / "a.yaml"]) == []


@pytest.mark.parametrize(
    "text",
    [
        "@pytest.mark.skip\ndef test_x(): ...\n",
        "@pytest.mark.skipif(True)\ndef test_x(): ...\n",
        "@pytest.mark.xfail(strict=True)\ndef test_x(): ...\n",
        "def test_x():\n    pytest.skip('')\n",
    ],
)
def test_a_planted_skip_is_found(plant: Callable[[str, str], Path], text: str) -> None:
    assert len(unreasoned(plant("test_a.py", text))) == 1
    reasoned = "@pytest.mark.skipif(True, reason='no set')\ndef test_x():\n    pytest.skip('ml-1m is not there')\n"
    assert unreasoned(plant("test_a.py", reasoned)) == []
