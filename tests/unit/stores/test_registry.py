import json
import re
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recray.errors import ModelError
from recray.stores.registry import Registry

FILES = {"items.parquet": b"PAR1" * 50, "rankers/deep/model.safetensors": bytes(range(256)), "empty.json": b""}
MANIFEST = {"created_at": "2026-11-22T11:15:00+01:00", "metrics": {"ndcg": 0.25, "recall": float("nan")}}
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


def written(registry: Registry, n: int = 0) -> str:
    return registry.write({**FILES, "n": b"%d" % n}, {**MANIFEST, "created_at": NOON + timedelta(days=n)})


def test_bundle_is_read_as_it_was_written(registry: Registry, tmp_path: Path) -> None:
    bundle_id = registry.write(FILES, MANIFEST)
    assert re.fullmatch(r"20261122T101500-[0-9a-f]{6}", bundle_id)
    manifest, files = registry.read(bundle_id)
    assert files == FILES
    assert manifest["metrics"] == {"ndcg": 0.25, "recall": None}
    assert manifest["format_version"] == 1
    assert manifest["files"]["empty.json"]["size"] == 0
    assert registry.ids() == [bundle_id]
    assert [path.name for path in (tmp_path / "bundles").iterdir()] == [bundle_id]


def test_same_content_has_the_same_id_and_other_content_another(registry: Registry) -> None:
    first = registry.write(FILES, MANIFEST)
    assert registry.write(dict(reversed(FILES.items())), dict(reversed(MANIFEST.items()))) == first
    assert registry.write({**FILES, "n": b""}, MANIFEST) != first
    assert registry.write(FILES, {**MANIFEST, "seed": 1}) != first
    assert len(registry.ids()) == 3


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("registry")
    Registry(root).write(FILES, MANIFEST)
    return root


@given(data=st.data())
def test_any_altered_byte_of_any_file_is_found(data: st.DataObject, kept: Path) -> None:
    (bundle_id,) = Registry(kept).ids()
    name = data.draw(st.sampled_from(["manifest.json", "items.parquet", "rankers/deep/model.safetensors"]))
    path = kept / "bundles" / bundle_id / name
    blob = path.read_bytes()
    place, flip = data.draw(st.integers(0, len(blob) - 1)), data.draw(st.integers(1, 255))
    try:
        path.write_bytes(blob[:place] + bytes([blob[place] ^ flip]) + blob[place + 1 :])
        with pytest.raises(ModelError, match=re.escape(name)):
            Registry(kept).read(bundle_id)
    finally:
        path.write_bytes(blob)


def test_damage_is_told_by_kind_and_file(registry: Registry, tmp_path: Path) -> None:
    bundle_id = registry.write(FILES, MANIFEST)
    path = tmp_path / "bundles" / bundle_id / "items.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(ModelError, match=re.escape(f"bundle {bundle_id}: items.parquet has 4 bytes; expected 200: restore it")):
        registry.read(bundle_id)
    path.unlink()
    with pytest.raises(ModelError, match=re.escape(f"bundle {bundle_id}: items.parquet is missing")):
        registry.read(bundle_id)
    path.write_bytes(FILES["items.parquet"])
    (path.parent / "rankers" / "code.py").write_bytes(b"")
    with pytest.raises(
        ModelError, match=re.escape(f"bundle {bundle_id} holds ['rankers/code.py'], which its manifest does not")
    ):
        registry.read(bundle_id)


def test_bundle_of_another_format_is_refused(registry: Registry, tmp_path: Path) -> None:
    text = json.dumps({"format_version": 2, "files": {}}).encode()
    bundle_id = f"20261122T101500-{sha256(text).hexdigest()[:6]}"
    folder = tmp_path / "bundles" / bundle_id
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_bytes(text)
    with pytest.raises(ModelError, match=re.escape(f"bundle {bundle_id} has format 2; expected 1")):
        registry.read(bundle_id)


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../alias", "a/../../b", "manifest.json", "a\\b", "./a", "a//b", ".", "a\0"]
)
def test_file_name_that_leaves_the_bundle_is_refused(registry: Registry, name: str) -> None:
    with pytest.raises(ModelError, match=re.escape(f"bundle file is named {name!r}")):
        registry.write({name: b""}, MANIFEST)
    assert registry.ids() == []


@pytest.mark.parametrize("created_at", [None, "yesterday", "2026-11-22T10:15:00"])
def test_manifest_without_an_aware_time_is_refused(registry: Registry, created_at: str | None) -> None:
    with pytest.raises(ModelError, match=re.escape(f"manifest has created_at {created_at!r}; expected a time with its zone")):
        registry.write(FILES, {"created_at": created_at})


def test_manifest_that_is_not_json_is_refused(registry: Registry) -> None:
    with pytest.raises(ModelError, match="manifest cannot be written"):
        registry.write(FILES, {**MANIFEST, "model": object()})


def test_alias_names_what_it_was_last_pointed_at(registry: Registry, tmp_path: Path) -> None:
    first, second = written(registry, 0), written(registry, 1)
    assert registry.alias("champion") is None
    registry.point("champion", first, NOON)
    registry.point("champion", second, NOON.astimezone(timezone(timedelta(hours=5))))
    assert registry.alias("champion") == second
    assert registry.alias("challenger") is None
    assert registry.history("champion") == [
        {"at": "2026-11-22T12:00:00Z", "id": first},
        {"at": "2026-11-22T12:00:00Z", "id": second},
    ]
    assert {path.name for path in (tmp_path / "aliases").iterdir()} == {"champion", "champion.history"}


def test_previous_is_the_newest_other_bundle(registry: Registry) -> None:
    ids = [written(registry, n) for n in range(3)]
    assert registry.previous("champion") is None
    registry.point("champion", ids[0], NOON)
    assert registry.previous("champion") is None
    for bundle_id in (ids[1], ids[2], ids[2]):
        registry.point("champion", bundle_id, NOON)
    assert registry.previous("champion") == ids[1]


def test_damaged_bundle_cannot_be_pointed_at(registry: Registry, tmp_path: Path) -> None:
    first, second = written(registry, 0), written(registry, 1)
    registry.point("champion", first, NOON)
    (tmp_path / "bundles" / second / "n").write_bytes(b"2")
    with pytest.raises(ModelError, match="n was altered"):
        registry.point("champion", second, NOON)
    assert registry.alias("champion") == first
    assert len(registry.history("champion")) == 1


@pytest.mark.parametrize("bundle_id", ["../../etc", "20261122T101500-3fa2b1", ""])
def test_unknown_bundle_cannot_be_pointed_at(registry: Registry, bundle_id: str) -> None:
    with pytest.raises(ModelError):
        registry.point("champion", bundle_id, NOON)
    assert registry.alias("champion") is None


def test_unknown_alias_is_refused(registry: Registry) -> None:
    with pytest.raises(ModelError, match=re.escape("alias is '../x'; expected champion or challenger")):
        registry.alias("../x")


def test_alias_and_id_resolve_to_the_id(registry: Registry) -> None:
    bundle_id = written(registry)
    registry.point("challenger", bundle_id, NOON)
    assert registry.resolve("challenger") == registry.resolve(bundle_id) == bundle_id
    for name in ("champion", "nobody", "20261122T101500-000000"):
        with pytest.raises(ModelError, match=re.escape(f"{name!r} names no bundle; expected one of ['{bundle_id}']")):
            registry.resolve(name)


def test_interrupted_writing_leaves_no_bundle(registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(path: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OSError, match="No space"):
        registry.write(FILES, MANIFEST)
    assert registry.ids() == []
    assert list((tmp_path / "bundles").iterdir()) == []
