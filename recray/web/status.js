// The page's foot: which bundle answered, how long each stage took, what degraded, and which columns are simulated.

import { $, h } from "./dom.js";

/** Milliseconds as a person reads them. */
export const milliseconds = (ms) => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;

/** Show the facts of `page`; `round_trip_ms` is what the browser measured around it. */
export function showStatus(page, round_trip_ms) {
  const [bundle, arm] = splitVersion(page.algorithm_version || "");
  const arms = Object.entries(page.experiments || {}).map(([name, value]) => `${name}: ${value}`);
  $("#status").replaceChildren(
    h(
      "div",
      { class: "status-origin", title: arms.join(", ") },
      h("span", { class: "label" }, "Bundle"),
      h("code", {}, bundle),
      h("span", { class: "label" }, "Arm"),
      h("code", {}, arm || "none"),
    ),
    stages(page.took_ms || {}),
    h(
      "div",
      { class: "status-total" },
      h("strong", { id: "took" }, milliseconds(page.took_ms?.total ?? 0)),
      h("span", { class: "label" }, `engine, ${milliseconds(round_trip_ms)} to this page`),
    ),
  );
  showDegraded(page.degraded || []);
  showSimulated(page.simulated || []);
}

function splitVersion(version) {
  const cut = version.lastIndexOf("/");
  return cut < 0 ? [version, ""] : [version.slice(0, cut), version.slice(cut + 1)];
}

function stages(took_ms) {
  const each = Object.entries(took_ms).filter(([stage]) => stage !== "total");
  const parts = each.map(([stage, ms], index) =>
    h("span", {
      class: `stage stage-${index % 8}`,
      vars: { ms: Math.max(ms, 0.01) },
      title: `${stage}: ${milliseconds(ms)}`,
    }),
  );
  const legend = each.map(([stage, ms], index) =>
    h(
      "li",
      {},
      h("span", { class: `dot stage-${index % 8}` }),
      `${stage} `,
      h("span", { class: "number" }, ms.toFixed(1)),
    ),
  );
  const words = each.map(([stage, ms]) => `${stage} ${milliseconds(ms)}`).join(", ");
  return h(
    "div",
    { class: "status-stages" },
    h("div", { class: "stage-bar", role: "img", "aria-label": `Time by stage: ${words}` }, parts),
    h("ul", { class: "legend", "aria-hidden": "true" }, legend),
  );
}

function showDegraded(stages) {
  const box = $("#degraded");
  box.hidden = !stages.length;
  if (!stages.length) return box.replaceChildren();
  const names = stages.map((stage) => h("code", {}, stage));
  return box.replaceChildren(
    h("strong", {}, "Degraded answer."),
    " These stages missed their deadline or failed, and their fallback answered: ",
    ...names,
  );
}

function showSimulated(columns) {
  const note = $("#simulated");
  note.hidden = !columns.length;
  note.textContent = columns.length
    ? `Simulated columns in this data set: ${columns.join(", ")}. The rest is real.`
    : "";
}
