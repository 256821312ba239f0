"""Small tables to fill a lake with."""

import pyarrow as pa

DAY = 86_400
T0 = 1_700_000_000  # 2023-11-14 22:13:20 UTC


def titles(*content_ids: str, name: str = "Title") -> pa.Table:
    n = len(content_ids)
    columns = {
        "content_id": pa.array(content_ids, pa.string()),
        "name": pa.array([f"{name} {c}" for c in content_ids], pa.string()),
        "kind": pa.array(["movie"] * n, pa.string()),
        "genres": pa.array([["Drama"]] * n, pa.list_(pa.string())),
        "localized_names": pa.array([[("de", f"Titel {c}")] for c in content_ids], pa.map_(pa.string(), pa.string())),
    }
    return pa.table(columns)


def events(*at_s: int, first: int = 0) -> pa.Table:
    n = len(at_s)
    return pa.table(
        {
            "event_id": [f"e{first + i:03d}" for i in range(n)],
            "user_id": ["u"] * n,
            "profile_id": ["p"] * n,
            "content_id": ["a"] * n,
            "action": ["play"] * n,
            "event_at": pa.array([s * 1_000 for s in at_s], pa.int64()).cast(pa.timestamp("ms", tz="UTC")),
        }
    )
