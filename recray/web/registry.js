// Cards of the operator's page: a bundle with what it learnt from and how it was judged, an experiment with its arms.

import { h } from "./dom.js";

export const number = (value, digits = 0) => value.toLocaleString("en", { maximumFractionDigits: digits });

/** A table; `caption` may be empty. Cells are text or elements. */
export function table(caption, columns, rows) {
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
  return h("table", {}, h("caption", {}, caption), h("thead", {}, head), h("tbody", {}, body));
}

/** What a manifest says about its data, without the lists that serve other purposes. */
function dataWords({ window, data }) {
  const facts = Object.entries({ ...data, ...(window && { window }) }).filter(
    ([, value]) => value !== null && !Array.isArray(value),
  );
  return facts.map(([name, value]) => {
    if (name.endsWith("_s")) return `${spoken(name.slice(0, -2))} ${new Date(value * 1000).toISOString().slice(0, 10)}`;
    if (name.startsWith("n_")) return `${number(value)} ${spoken(name.slice(2))}`;
    // A synthetic world says in its source with which settings it was made, as JSON.
    return `${spoken(name)} ${typeof value === "object" ? Object.values(value).join(" to ") : String(value).split(" {")[0]}`;
  });
}

const spoken = (name) => name.replaceAll("_", " ");

/** Every model's figures, one line each; figures without a model are one line. */
function figures(metrics) {
  const byModel = Object.entries(metrics || {}).filter(([, value]) => value && typeof value === "object");
  const flat = Object.entries(metrics || {}).filter(([, value]) => typeof value === "number");
  const lines = [...(flat.length ? [["", Object.fromEntries(flat)]] : []), ...byModel];
  const names = [...new Set(lines.flatMap(([, line]) => Object.keys(line)))];
  const cell = (value) => (typeof value === "number" ? number(value, 4) : "–");
  const rows = lines.map(([model, line]) => [h("strong", {}, model), ...names.map((name) => cell(line[name]))]);
  return rows.length ? h("div", { class: "scroll" }, table("", ["", ...names], rows)) : null;
}

function gateLine(gate) {
  if (!gate) return null;
  const reasons = (gate.reasons || []).join("; ");
  return h(
    "p",
    { class: gate.passed ? "gate" : "gate problem" },
    `${gate.passed ? "Passed the gate" : "Did not pass the gate"}${reasons ? `: ${reasons}` : ""}`,
  );
}

/** A bundle; `promote(id)` is called when the operator asks to put it in charge. */
export function bundleCard(bundle, { champion, refused }, promote) {
  const inCharge = bundle.id === champion;
  const aliases = (bundle.aliases || []).map((alias) => h("span", { class: `alias ${alias}` }, alias));
  const button = h(
    "button",
    { type: "button", class: "button small", disabled: inCharge, on: { click: () => promote(bundle.id) } },
    inCharge ? "In charge" : "Promote",
  );
  return h(
    "article",
    { class: inCharge ? "panel in-charge" : "panel" },
    h("header", {}, h("h3", {}, h("code", {}, bundle.id)), ...aliases, button),
    h(
      "p",
      { class: "muted" },
      [
        bundle.created_at && `made ${bundle.created_at}`,
        bundle.chosen && `lists ordered by ${bundle.chosen.replace(/^by-/, "")}`,
        ...dataWords(bundle),
      ].filter(Boolean).join(" · "),
    ),
    gateLine(bundle.gate),
    bundle.rankers ? h("p", { class: "muted" }, bundle.rankers.join("; ")) : null,
    bundle.damaged ? h("p", { class: "problem" }, bundle.damaged) : null,
    refused?.[bundle.id] ? h("p", { class: "problem" }, `Refused: ${refused[bundle.id]}`) : null,
    figures(bundle.metrics),
  );
}

/** An experiment with the share of its units that each arm gets. */
export function experimentCard(experiment) {
  const arms = Object.entries(experiment.arms);
  const whole = arms.reduce((sum, [, arm]) => sum + arm.weight, 0) || 1;
  const facts = Object.entries(experiment).filter(([name]) => !["name", "arms", "status"].includes(name));
  return h(
    "article",
    { class: "panel" },
    h(
      "header",
      {},
      h("h3", {}, experiment.name),
      h("span", { class: `alias ${experiment.status}` }, experiment.status),
    ),
    h(
      "p",
      { class: "muted" },
      facts.map(([name, value]) => `${name}: ${Array.isArray(value) ? value.join(" to ") : value}`).join(" · "),
    ),
    h(
      "ul",
      { class: "arms" },
      arms.map(([name, arm]) => armLine(name, arm, arm.weight / whole)),
    ),
  );
}

function armLine(name, { weight, ...changes }, share) {
  const set = Object.entries(changes).filter(([, value]) => value !== null && JSON.stringify(value) !== "{}");
  const words = set
    .map(([key, value]) => `${key}: ${typeof value === "object" ? JSON.stringify(value) : value}`)
    .join(" · ");
  return h(
    "li",
    {},
    h("strong", {}, name),
    h("span", { class: "number" }, `${number(share * 100, 1)} %`),
    h("span", { class: "share", vars: { share } }),
    h("span", { class: "muted" }, words || "changes nothing"),
  );
}
