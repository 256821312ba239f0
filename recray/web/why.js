// The drawer that answers "why this?": what a title scored, who proposed it, and what was dropped.

import { explain } from "./api.js";
import { percent, scoreWord } from "./cards.js";
import { $, h } from "./dom.js";

const OBJECTIVES = {
  start: "will start it",
  completion: "will finish it",
  dislike: "will dislike it",
  "watch-time": "will watch of its length",
};

/** Open the drawer for one title of one answer. */
export async function showWhy({ item, context }) {
  const drawer = $("#why");
  const body = $(".drawer-body", drawer);
  $("h2", drawer).textContent = item.name;
  body.replaceChildren(h("p", { class: "muted" }, "Asking the engine…"));
  if (!drawer.open) drawer.showModal();
  try {
    const { data } = await explain(context.recommendation_id);
    body.replaceChildren(...sections(data, item));
  } catch (problem) {
    body.replaceChildren(h("p", { class: "problem", role: "alert" }, problem.message));
  }
}

function sections(data, item) {
  const mine = data.items.find((entry) => entry.content_id === item.content_id);
  return [
    item.reason ? h("p", { class: "why-reason" }, item.reason) : null,
    mine ? scores(mine) : h("p", { class: "muted" }, "This answer holds no trace of this title."),
    mine ? sources(mine) : null,
    others(data.items, item),
    dropped(data.dropped || []),
    origin(data),
  ].filter(Boolean);
}

function section(title, ...children) {
  return h("section", { class: "why-section" }, h("h3", {}, title), ...children);
}

function scores(entry) {
  // What a data set has no outcomes of is 0 for every title.
  const expected = Object.entries(entry.p || {}).filter(([, p]) => p > 0);
  const rows = expected.map(([objective, p]) => meter(OBJECTIVES[objective] || objective, p, objective));
  const seed = entry.seed
    ? h("p", { class: "muted" }, "Strongest evidence among what you watched or liked: ", h("strong", {}, entry.seed.name), ".")
    : null;
  const place = h(
    "p",
    { class: "big-score" },
    h("span", {}, scoreWord(entry.score)),
    ` score, place ${entry.position + 1}`,
  );
  return section(entry.p ? "What the ranker expects" : "Where it stands", place, ...rows, seed);
}

function meter(label, ratio, kind) {
  const bar = h("span", { class: `meter ${kind}`, vars: { share: Math.max(0, Math.min(1, ratio)) } });
  return h(
    "p",
    { class: "meter-row" },
    h("span", {}, `You ${label}`),
    bar,
    h("span", { class: "number" }, percent(ratio)),
  );
}

function table(caption, columns, rows) {
  const head = h(
    "tr",
    {},
    columns.map((name) => h("th", { scope: "col" }, name)),
  );
  const body = rows.map((cells) =>
    h(
      "tr",
      {},
      cells.map((cell) => h("td", {}, cell)),
    ),
  );
  return h("table", {}, h("caption", { class: "unseen" }, caption), h("thead", {}, head), h("tbody", {}, body));
}

function sources(entry) {
  const rows = [...(entry.sources || [])].sort((a, b) => a.rank - b.rank);
  if (!rows.length) return null;
  const cells = rows.map((each) => [each.source, `${each.rank}`, scoreWord(each.score)]);
  return section("Who proposed it", table("Candidate sources", ["Source", "Rank", "Its own score"], cells));
}

function others(items, item) {
  const top = Math.max(...items.map((each) => each.score), 1e-9);
  const low = Math.min(...items.map((each) => each.score), 0);
  const row = (each) =>
    h(
      "li",
      { class: each.content_id === item.content_id ? "mine" : null },
      h("span", {}, each.name),
      h("span", { class: "meter", vars: { share: (each.score - low) / (top - low || 1) } }),
      h("span", { class: "number" }, scoreWord(each.score)),
    );
  const ranked = [...items].sort((a, b) => b.score - a.score);
  const list = h("ol", { class: "ranking" }, ranked.map(row));
  return folded(`All ${items.length} titles of this answer, by score`, list);
}

function dropped(entries) {
  if (!entries.length) return section("Dropped", h("p", { class: "muted" }, "No candidate was dropped."));
  const cells = entries.map((entry) => [entry.name, (entry.reasons || []).join(", ")]);
  return folded(`${entries.length} candidates were dropped`, table("Dropped candidates", ["Title", "Reason"], cells));
}

function folded(summary, content) {
  return h("details", { class: "why-section" }, h("summary", {}, summary), content);
}

function origin(data) {
  const arms = Object.entries(data.arms || {})
    .map(([name, arm]) => `${name}: ${arm}`)
    .join(", ");
  const how = data.replayed ? "Computed again from the recorded features." : "As recorded when the answer was given.";
  return section(
    "Where it comes from",
    h(
      "dl",
      { class: "pairs" },
      h("dt", {}, "Bundle"),
      h("dd", {}, data.bundle_id || "unknown"),
      h("dt", {}, "Arms"),
      h("dd", {}, arms || "none"),
      h("dt", {}, "Answer"),
      h("dd", {}, data.recommendation_id),
      h("dt", {}, "Trace"),
      h("dd", {}, how),
    ),
  );
}
