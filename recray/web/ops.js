// The operator's page: is it ready, what does it serve, how fast, and which bundle is in charge.

import * as api from "./api.js";
import { $, h, s, toast } from "./dom.js";
import { distributions, parse, plain, total, unitOf } from "./metrics.js";
import { shadowParts } from "./shadow.js";
import { bundleCard, experimentCard, number, table } from "./registry.js";

const EVERY_MS = 2000;
const KEEP = 31;
const TRAFFIC = [
  ["Requests", /request.*_total$/, /error|fail|degraded|unlogged/],
  ["Failures", /(error|fail|unlogged|rejected)\w*_total$/, null],
  ["Degraded stages", /degraded\w*_total$/, null],
  ["Feedback events", /(event|feedback)\w*_total$/, /error|fail|reject/],
];

const readings = [];
const state = { token: "", drawn: "", champion: "" };

async function health(path) {
  try {
    const { data, ms } = await api.ask(path);
    return { good: true, words: detail(data), ms };
  } catch (problem) {
    return { good: false, words: problem.message, ms: null };
  }
}

function detail(data) {
  if (!data || typeof data !== "object") return String(data || "");
  const nested = ([, value]) => value && typeof value === "object";
  const words = (entries) => entries.map(([name, value]) => `${name.replaceAll("_", " ")} ${value ?? "none"}`).join(", ");
  const facts = Object.entries(data);
  const lines = facts.filter(nested).map(([name, inner]) => [name, words(Object.entries(inner))]);
  return [words(facts.filter((fact) => !nested(fact))), ...lines.filter(([, said]) => said).map((line) => line.join(": "))]
    .join("\n");
}

async function readMetrics() {
  try {
    const { data } = await api.ask("/metrics");
    readings.push({ at_ms: performance.now(), ...parse(data) });
    if (readings.length > KEEP) readings.shift();
  } catch (problem) {
    $("#series").replaceChildren(h("p", { class: "problem" }, `No metrics: ${problem.message}`));
  }
}

function tile(title, value, note, more = {}) {
  const { good = true, line = null } = more;
  return h(
    "article",
    { class: good ? "tile" : "tile bad" },
    h("h2", {}, title),
    h("p", { class: "tile-value" }, value),
    line,
    h("p", { class: "tile-note" }, note),
  );
}

function trafficTiles() {
  const now = readings.at(-1);
  return TRAFFIC.flatMap(([title, pattern, but]) => {
    const only = { test: (name) => pattern.test(name) && !(but && but.test(name)) };
    const totals = readings.map((reading) => [reading.at_ms, total(reading, only)]);
    if (!now || totals.at(-1)[1] === null) return [];
    const rates = totals
      .slice(1)
      .map(([at_ms, value], i) => Math.max(0, ((value - (totals[i][1] ?? 0)) * 1000) / (at_ms - totals[i][0])));
    const bad = /Failures|Degraded/.test(title) && (rates.at(-1) || 0) > 0;
    const rate = rates.length ? `${number(rates.at(-1), 1)} /s` : "measuring";
    return [tile(title, rate, `${number(totals.at(-1)[1])} in all`, { good: !bad, line: sparkline(rates) })];
  });
}

function sparkline(values) {
  const top = Math.max(...values, 1e-9);
  const x = (i) => ((i + KEEP - 1 - values.length) / (KEEP - 2)) * 100;
  const points = values.map((value, i) => `${x(i).toFixed(1)},${(30 - (value / top) * 27).toFixed(1)}`);
  const line = s("polyline", { points: points.join(" "), class: "spark-line" });
  return s("svg", { viewBox: "0 0 100 32", preserveAspectRatio: "none", class: "spark", "aria-hidden": "true" }, line);
}

async function drawTiles() {
  const [alive, ready] = await Promise.all([health("/healthz"), health("/readyz")]);
  const words = (state) => (state.ms === null ? "" : `answered in ${number(state.ms, 1)} ms`);
  $("#tiles").replaceChildren(
    tile("Ready", ready.good ? "Yes" : "No", ready.words, { good: ready.good }),
    tile("Process", alive.good ? "Alive" : "Down", alive.good ? words(alive) : alive.words, { good: alive.good }),
    ...trafficTiles(),
  );
  $("#freshness").textContent = `Read at ${new Date().toLocaleTimeString()}`;
}

function drawShadow() {
  $("#shadow").replaceChildren(...shadowParts(readings.at(-1)));
}

function drawDistributions() {
  const families = new Map();
  for (const each of distributions(readings.at(-1), readings.length > 1 ? readings[0] : null)) {
    families.set(each.family, [...(families.get(each.family) || []), each]);
  }
  const none = h("p", { class: "muted" }, "The server publishes no histogram.");
  $("#latency").replaceChildren(
    ...(families.size ? [...families].map(([family, each]) => distributionTable(family, each)) : [none]),
  );
}

function distributionTable(family, each) {
  const { factor, unit } = unitOf(family);
  const seen = (value) => (Number.isFinite(value) ? `${number(value * factor, 2)} ${unit}` : "–");
  const top = Math.max(...each.map(({ p99 }) => p99 || 0), 1e-9);
  const bar = ({ p50, p99 }) => h("span", { class: "range", vars: { p50: (p50 || 0) / top, p99: (p99 || 0) / top } });
  const rows = each.map((one) => [
    one.label || "all",
    number(one.count),
    seen(one.mean),
    seen(one.p50),
    seen(one.p99),
    bar(one),
  ]);
  return h("div", { class: "scroll" }, table(family, ["", "Count", "Mean", "p50", "p99", "p50 to p99"], rows));
}

function drawSeries() {
  const labels = (sample) =>
    Object.entries(sample.labels)
      .map(([name, value]) => `${name}=${value}`)
      .join("  ");
  const rows = plain(readings.at(-1)).map((sample) => [
    h("code", {}, sample.name),
    labels(sample),
    number(sample.value, 3),
  ]);
  $("#series").replaceChildren(
    rows.length
      ? table("", ["Series", "Labels", "Value"], rows)
      : h("p", { class: "muted" }, "No series starts with recray_."),
  );
}

async function drawRegistry() {
  const [bundles, experiments] = await Promise.allSettled([api.bundles(), api.experiments()]);
  const drawn = JSON.stringify([bundles, experiments].map((each) => each.value?.data ?? each.reason?.message));
  if (drawn === state.drawn) return;
  state.drawn = drawn;
  state.champion = bundles.value?.data.champion ?? state.champion;
  show(
    $("#bundle-list"),
    bundles,
    ({ bundles: list, ...aliases }) => list.map((bundle) => bundleCard(bundle, aliases, promote)),
    "The registry holds no bundle.",
  );
  show(
    $("#experiment-list"),
    experiments,
    (data) => (data.experiments || []).map(experimentCard),
    "No experiment runs: every request goes to the champion.",
  );
}

function show(box, { value, reason }, draw, none) {
  if (reason) return box.replaceChildren(h("p", { class: "problem", role: "alert" }, reason.message));
  const parts = draw(value.data);
  return box.replaceChildren(...(parts.length ? parts : [h("p", { class: "muted" }, none)]));
}

/** Ask before changing who is in charge; resolves to whether the person agreed. */
function confirm(title, text, verb) {
  const dialog = $("#confirm");
  $("#confirm-title").textContent = title;
  $("#confirm-text").textContent = text;
  $("#confirm-yes").textContent = verb;
  $("#token").value = state.token;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => {
        state.token = $("#token").value;
        resolve(dialog.returnValue === "yes");
      },
      { once: true },
    );
  });
}

async function promote(id) {
  const text = `${id} becomes the champion. Requests that are being answered finish with the present one; no request fails.`;
  if (await confirm("Promote this bundle?", text, "Promote"))
    await change(() => api.promote(id, state.token), `${id} takes charge`);
}

async function rollback() {
  const text =
    "The champion before this one takes charge again. Requests that are being answered finish with the present one.";
  if (await confirm("Roll back the champion?", text, "Roll back"))
    await change(() => api.rollback(state.champion, state.token), "The champion before takes charge");
}

async function change(call, done) {
  try {
    await call();
    toast(done);
  } catch (problem) {
    toast(problem.message, "bad");
  }
  await drawRegistry();
}

async function turn() {
  if (!document.hidden) {
    await Promise.all([readMetrics(), drawRegistry()]);
    await drawTiles();
    if (readings.length) [drawShadow, drawDistributions, drawSeries].forEach((draw) => draw());
  }
  setTimeout(turn, EVERY_MS);
}

$("#rollback").addEventListener("click", rollback);
$("#confirm").addEventListener("click", (event) => event.target.id === "confirm" && event.target.close("no"));
turn();
