// One title on the page: poster, facts, the reason, and what the viewer can do with it.

import { poster } from "./art.js";
import { h, iconButton, icon } from "./dom.js";

const known = new WeakMap();
const liked = new Set();

/** The {element, item, context} of the title drawn around `inner`, or null. Context: recommendation_id, row, position. */
export function titleAt(inner) {
  const element = inner?.closest?.("[data-content-id]");
  return element ? { element, ...known.get(element) } : null;
}

/** Remember which title `element` stands for. */
export function bind(element, item, context) {
  element.dataset.contentId = item.content_id;
  known.set(element, { item, context });
}

/** Show a title's like button as pressed from now on; the answers do not say what was liked. */
export function rememberLike(content_id) {
  liked.add(content_id);
}

/** Another viewer likes other titles. */
export function forgetLikes() {
  liked.clear();
}

/** A card for `item`; `context` says which answer and row it came from, so that events can name their cause. */
export function card(item, context) {
  const element = h("article", {
    class: "card",
    tabindex: "-1",
    role: "group",
    "aria-keyshortcuts": "Enter L D X W",
  });
  element.append(poster(item), face(item));
  return refill(element, item, context);
}

/** Put a newer answer's reason, score and place into a card that stays on the page. */
export function refill(element, item, context) {
  bind(element, item, context);
  element.setAttribute("aria-label", [item.name, facts(item).join(", "), item.reason].filter(Boolean).join(". "));
  element.querySelector(".card-more")?.remove();
  element.querySelector(".card-progress")?.remove();
  if (item.progress) {
    element.append(
      h("span", {
        class: "card-progress",
        vars: { progress: item.progress },
        title: `Watched ${percent(item.progress)}`,
      }),
    );
  }
  element.append(more(item));
  return element;
}

export const percent = (ratio) => `${Math.round(ratio * 100)} %`;

/** "13+", or null for a title without a minimum age: catalogues that rate nothing say 0 as well. */
export const maturityWord = (maturity) => (maturity > 0 ? `${maturity}+` : null);

function facts(item) {
  return [item.year, maturityWord(item.maturity), ...(item.genres || []).slice(0, 2)].filter(Boolean);
}

/** Year, maturity and genres as one line of small type. */
export function factLine(item) {
  const badge = maturityWord(item.maturity);
  return h(
    "p",
    { class: "facts" },
    item.year ? h("span", {}, String(item.year)) : null,
    badge ? h("span", { class: "badge", title: "Maturity: minimum age" }, badge) : null,
    item.genres?.length ? h("span", { class: "genres" }, item.genres.slice(0, 3).join(" · ")) : null,
  );
}

function face(item) {
  return h("div", { class: "card-face", "aria-hidden": "true" }, factLine(item));
}

/** The button row that every place that shows a title uses. */
export function actions(item) {
  const named = (verb) => `${verb} ${item.name}`;
  return h(
    "div",
    { class: "actions" },
    h(
      "button",
      { type: "button", class: "play-button", "data-action": "play", "aria-label": named("Play") },
      icon("play"),
      h("span", {}, "Play"),
    ),
    iconButton("like", named("Like"), { "data-action": "like", "aria-pressed": String(liked.has(item.content_id)) }),
    iconButton("dislike", named("Dislike"), { "data-action": "dislike" }),
    iconButton("hide", named("Hide"), { "data-action": "hide" }),
    iconButton("why", named("Why this? Explain"), { "data-action": "why" }),
  );
}

function more(item) {
  return h(
    "div",
    { class: "card-more" },
    h("p", { class: "more-name" }, item.name),
    item.reason ? h("p", { class: "reason" }, item.reason) : null,
    h(
      "p",
      { class: "origin" },
      item.source ? h("span", { class: "source" }, item.source) : null,
      h("span", { class: "score" }, scoreWord(item.score)),
    ),
    actions(item),
  );
}

/** A score to three significant digits; scores have no bounds. */
export const scoreWord = (score) => (Number.isFinite(score) ? Number(score.toPrecision(3)).toString() : "–");
