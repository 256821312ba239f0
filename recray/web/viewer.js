// The viewer's page: ask, draw, act, ask again, and show what changed.

import * as api from "./api.js";
import { forgetLikes, rememberLike, titleAt } from "./cards.js";
import { difference, summary } from "./changes.js";
import { $, h, toast } from "./dom.js";
import { renderHero } from "./hero.js";
import { watchImpressions } from "./impressions.js";
import { createOnboarding } from "./onboarding.js";
import { createPlayer } from "./player.js";
import { avatar, createProfiles, newViewer, sameViewer } from "./profile.js";
import { renderRows, skeletons, steer } from "./rails.js";
import { createSearch } from "./search.js";
import { milliseconds, showStatus } from "./status.js";
import { showWhy } from "./why.js";

const [N_ROWS, ROW_SIZE, N_NEXT] = [8, 20, 15];
const SAID = {
  like: "Liked",
  dislike: "Disliked",
  hide: "Hidden",
  play: "Playing",
  progress: "Stopped",
  complete: "Watched",
};
const KEYS = { Enter: "play", l: "like", d: "dislike", x: "hide", w: "why" };

const state = { viewer: null, page: null, turn: 0, watched: null };
const rows = $("#rows");
const next = $("#next");
const player = createPlayer(stopped);
const profiles = createProfiles({ switchTo, changed: changedSettings });
const onboarding = createOnboarding({ viewer: () => state.viewer, changed: again });
const search = createSearch({ viewer: () => state.viewer, genres: genresOfPage });
const seen = watchImpressions((events) => api.impressions(state.viewer, events).catch(() => {}));

/** Ask for the homepage and draw it. `done` says what the person did, to tell them what it changed. */
async function refresh(done) {
  const turn = ++state.turn;
  rows.setAttribute("aria-busy", "true");
  try {
    const { data, ms } = await api.homepage(state.viewer, N_ROWS, ROW_SIZE);
    if (turn === state.turn) draw(data, ms, done);
  } catch (problem) {
    if (turn === state.turn) fail(problem);
  }
  if (turn === state.turn) rows.removeAttribute("aria-busy");
}

function draw(page, ms, done) {
  const before = state.page;
  state.page = page;
  renderHero($("#hero"), page);
  renderRows(rows, page.rows, page);
  if (!page.rows.length) rows.replaceChildren(empty());
  showStatus(page, ms);
  showViewer(page.profile);
  onboarding.show(page.profile);
  seen.look($("main"));
  if (done && before)
    toast(`${done}. ${summary(difference(before, page))}, answered in ${milliseconds(page.took_ms?.total ?? ms)}`);
}

function fail(problem) {
  if (state.page) return toast(problem.message, "bad");
  $("#hero").hidden = true;
  const retry = h("button", { type: "button", class: "button strong", on: { click: start } }, "Try again");
  const other = h(
    "button",
    { type: "button", class: "button", on: { click: () => profiles.open(state.viewer) } },
    "Switch profile",
  );
  const title = problem.status ? `${problem.status}: ${problem.title}` : problem.title;
  return rows.replaceChildren(notice(title, problem.message, retry, other));
}

function empty() {
  const other = h(
    "button",
    { type: "button", class: "button strong", on: { click: () => profiles.open(state.viewer) } },
    "Change settings",
  );
  return notice(
    "Nothing to show",
    "No title of the catalogue passes this profile's region, maturity limit and history.",
    other,
  );
}

function notice(title, text, ...buttons) {
  return h(
    "div",
    { class: "notice", role: "alert" },
    h("h2", {}, title),
    h("p", {}, text),
    h("div", { class: "notice-buttons" }, buttons),
  );
}

/** Draw from nothing for the present viewer. */
function start() {
  state.page = null;
  $("#hero").hidden = false;
  $("#hero").replaceChildren();
  delete $("#hero").dataset.contentId;
  $("#degraded").hidden = true;
  $("#status").replaceChildren();
  rows.replaceChildren(...skeletons(3, 10));
  showViewer(null);
  return refresh();
}

function showViewer(profile) {
  const events = profile ? (profile.known ? `${profile.n_events} events` : "new viewer") : "";
  const words = h(
    "span",
    { class: "viewer-words" },
    h("strong", {}, profiles.labelOf(state.viewer)),
    h("small", {}, events),
  );
  $("#viewer").replaceChildren(avatar(state.viewer), words);
  document.title = `${profiles.labelOf(state.viewer)}: recray`;
}

function switchTo({ user_id, profile_id }) {
  const viewer = { user_id, profile_id };
  if (state.viewer && sameViewer(viewer, state.viewer)) return;
  history.pushState(null, "", `?${new URLSearchParams(viewer)}`);
  become(viewer);
}

function become(viewer) {
  player.leave();
  search.close();
  closeNext();
  seen.forget();
  forgetLikes();
  state.viewer = viewer;
  scrollTo({ top: 0 });
  start();
}

/** Ask again for everything on screen. */
function again(done) {
  search.again();
  if (state.watched) showNext(state.watched);
  return refresh(done);
}

function changedSettings(done) {
  onboarding.forget();
  return again(done);
}

async function act(action, title) {
  if (action === "why") return showWhy(title);
  const { content_id, name } = title.item;
  const leaves = action === "hide" || action === "dislike";
  const twins = [...document.querySelectorAll(".card")].filter((element) => element.dataset.contentId === content_id);
  if (leaves) twins.forEach((element) => element.classList.add("leaving"));
  if (action === "play") player.play({ ...title, viewer: state.viewer });
  try {
    await report(state.viewer, title, { action });
  } catch (problem) {
    twins.forEach((element) => element.classList.remove("leaving"));
    return toast(problem.message, "bad");
  }
  if (action === "like") rememberLike(content_id);
  if (leaves && state.watched?.item.content_id === content_id) closeNext();
  return again(`${SAID[action]}: ${name}`);
}

function report(viewer, { item, context }, event) {
  const { recommendation_id, row, position } = context;
  return api.feedback(viewer, { content_id: item.content_id, recommendation_id, row, position, ...event });
}

async function stopped(title, action, progress) {
  try {
    await report(title.viewer, title, { action, progress });
  } catch (problem) {
    return toast(problem.message, "bad");
  }
  if (!sameViewer(title.viewer, state.viewer)) return null;
  state.watched = title;
  search.close();
  await Promise.all([refresh(`${SAID[action]}: ${title.item.name}`), showNext(title)]);
  return next.scrollIntoView({ block: "start", behavior: "smooth" });
}

async function showNext(title) {
  try {
    const { data } = await api.postWatch(state.viewer, title.item.content_id, N_NEXT);
    if (state.watched !== title) return;
    const row = {
      row_id: "post-watch",
      title: `After ${title.item.name}`,
      reason: "Picked for the moment after watching",
      items: data.recommendations,
    };
    next.hidden = !row.items.length;
    renderRows($("#next-rows"), [row], data);
    seen.look($("main"));
  } catch (problem) {
    toast(problem.message, "bad");
  }
}

function closeNext() {
  state.watched = null;
  next.hidden = true;
  $("#next-rows").replaceChildren();
}

function genresOfPage() {
  const items = (state.page?.rows || []).flatMap((row) => row.items);
  return [...new Set(items.flatMap((item) => item.genres || []))].sort();
}

function onClick(event) {
  const button = event.target.closest("[data-action]");
  const title = titleAt(event.target);
  if (button && title) return act(button.dataset.action, title);
  const card = event.target.closest(".card");
  document.querySelectorAll(".card.open").forEach((other) => other !== card && other.classList.remove("open"));
  return card?.classList.toggle("open");
}

function onKey(event) {
  const typing = event.target.closest("input, select, textarea");
  if (event.key === "Escape" && search.isOpen()) return search.close();
  if (event.key === "/" && !typing) {
    event.preventDefault();
    return $("#search").focus();
  }
  if (typing || steer(event) || event.ctrlKey || event.metaKey || event.altKey) return null;
  const action = event.target.matches(".card") && (KEYS[event.key] || KEYS[event.key.toLowerCase()]);
  return action ? act(action, titleAt(event.target)) : null;
}

function viewerOfAddress() {
  const query = new URLSearchParams(location.search);
  const user_id = query.get("user_id");
  return user_id ? { user_id, profile_id: query.get("profile_id") || "main" } : null;
}

async function open() {
  document.addEventListener("click", onClick);
  document.addEventListener("keydown", onKey);
  addEventListener("popstate", () => become(viewerOfAddress() || state.viewer));
  addEventListener("scroll", () => document.body.classList.toggle("scrolled", scrollY > 12), { passive: true });
  document
    .querySelectorAll("dialog")
    .forEach((dialog) =>
      dialog.addEventListener(
        "click",
        (event) => (event.target === dialog || event.target.closest("[data-close]")) && dialog.close(),
      ),
    );
  $("#viewer").addEventListener("click", () => profiles.open(state.viewer));
  $("#next-close").addEventListener("click", closeNext);
  rows.replaceChildren(...skeletons(3, 10));
  const samples = await profiles.load();
  const { user_id, profile_id } = viewerOfAddress() || samples[0] || newViewer();
  state.viewer = { user_id, profile_id };
  history.replaceState(null, "", `?${new URLSearchParams(state.viewer)}`);
  await start();
}

open();
