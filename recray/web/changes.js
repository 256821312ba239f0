// What differs between two answers, counted as a person would see it.

/** Titles that are new, gone or moved. A title moved if it changed rows, or overtook others in its row. */
export function difference(before, after) {
  const [old, now] = [placesOf(before), placesOf(after)];
  const fresh = [...now.keys()].filter((id) => !old.has(id));
  const gone = [...old.keys()].filter((id) => !now.has(id));
  const crossed = [...now.keys()].filter((id) => old.has(id) && old.get(id).row !== now.get(id).row);
  return { fresh, gone, moved: [...crossed, ...overtakers(old, now)] };
}

/** "3 titles changed (1 new, 2 moved)", or that nothing did. */
export function summary({ fresh, gone, moved }) {
  const total = fresh.length + gone.length + moved.length;
  if (!total) return "No title changed";
  const parts = [
    [fresh, "new"],
    [gone, "gone"],
    [moved, "moved"],
  ];
  const words = parts.filter(([list]) => list.length).map(([list, name]) => `${list.length} ${name}`);
  return `${total} ${total === 1 ? "title" : "titles"} changed (${words.join(", ")})`;
}

function placesOf(page) {
  const places = new Map();
  for (const row of page.rows) {
    row.items.forEach((item, position) => {
      if (!places.has(item.content_id)) places.set(item.content_id, { row: row.row_id, position });
    });
  }
  return places;
}

function overtakers(old, now) {
  const rows = new Map();
  for (const [id, place] of now) {
    if (old.get(id)?.row === place.row) rows.set(place.row, [...(rows.get(place.row) || []), id]);
  }
  return [...rows.values()].flatMap((ids) => outOfOrder(ids, (id) => old.get(id).position));
}

/** The fewest of `ids` whose removal leaves the rest in ascending order (all but a longest increasing subsequence). */
function outOfOrder(ids, order) {
  const best = ids.map(() => ({ length: 1, from: -1 }));
  ids.forEach((id, i) => {
    for (let j = 0; j < i; j += 1) {
      if (order(ids[j]) < order(id) && best[j].length >= best[i].length)
        best[i] = { length: best[j].length + 1, from: j };
    }
  });
  const keep = new Set();
  let at = best.reduce((top, entry, i) => (entry.length > (best[top]?.length ?? 0) ? i : top), -1);
  for (; at >= 0; at = best[at].from) keep.add(ids[at]);
  return ids.filter((id) => !keep.has(id));
}
