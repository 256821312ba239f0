// Search and genres: results in a panel over the page, ranked for the viewer.

import * as api from "./api.js";
import { card } from "./cards.js";
import { $, h } from "./dom.js";

const WAIT_MS = 180;
const N_RESULTS = 24;

/** Wire the search box. `viewer()` says for whom, `genres()` what to offer before a word is typed. */
export function createSearch({ viewer, genres }) {
  const [box, panel] = [$("#search"), $("#results")];
  const state = { timer: 0, asking: null, last: null };

  function open() {
    panel.hidden = false;
    box.setAttribute("aria-expanded", "true");
    document.body.classList.add("searching");
  }

  function close() {
    state.asking?.abort();
    clearTimeout(state.timer);
    state.last = null;
    panel.hidden = true;
    box.value = "";
    box.setAttribute("aria-expanded", "false");
    document.body.classList.remove("searching");
  }

  function offer() {
    open();
    state.last = null;
    const chips = genres().map((name) =>
      h("button", { type: "button", class: "chip", on: { click: () => browse(name) } }, name),
    );
    put("Search titles, or browse a genre", h("div", { class: "chips" }, chips));
  }

  const find = (query) => show((signal) => api.search(viewer(), query, N_RESULTS, signal), `for “${query}”`);
  const browse = (name) => show((signal) => api.category(viewer(), name, N_RESULTS, signal), `in ${name}`);

  async function show(question, where) {
    open();
    state.asking?.abort();
    const asking = new AbortController();
    Object.assign(state, { asking, last: () => show(question, where) });
    try {
      const { data } = await question(asking.signal);
      if (asking === state.asking && !asking.signal.aborted) drawResults(data, where);
    } catch (problem) {
      if (problem.name !== "AbortError") fail(problem);
    }
  }

  box.addEventListener("focus", () => box.value.trim() || offer());
  box.addEventListener("input", () => {
    clearTimeout(state.timer);
    const query = box.value.trim();
    state.timer = setTimeout(() => (query ? find(query) : offer()), WAIT_MS);
  });
  box.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") $("#results-body :is(.card, .chip)")?.focus();
  });
  $("#search-form").addEventListener("submit", (event) => event.preventDefault());
  $("#results-close").addEventListener("click", close);
  return { close, isOpen: () => !panel.hidden, again: () => state.last?.() };
}

function put(heading, content) {
  $("#results-title").textContent = heading;
  $("#results-body").replaceChildren(content);
}

function drawResults(page, where) {
  const items = page.recommendations;
  const heading = `${items.length || "No"} ${items.length === 1 ? "title" : "titles"} ${where}, ranked for this profile`;
  if (!items.length) {
    const text = "Nothing here for this profile. Titles that are watched, hidden or above its limit are left out.";
    return put(heading, h("p", { class: "muted" }, text));
  }
  const context = (item, index) => ({
    recommendation_id: page.recommendation_id,
    position: item.position ?? index,
  });
  const cards = items.map((item, index) => card(item, context(item, index)));
  cards[0].tabIndex = 0;
  return put(heading, h("div", { class: "track grid" }, cards));
}

function fail(problem) {
  put(problem.title, h("p", { class: "problem", role: "alert" }, problem.message));
}
