// The page's first pick, large.

import { drawing, lookOf } from "./art.js";
import { actions, bind, factLine, scoreWord } from "./cards.js";
import { animate, h } from "./dom.js";

/** Fill `stage` with the first title of the first row; hide it when there is none. */
export function renderHero(stage, page) {
  const [row] = page.rows;
  const item = row?.items[0];
  stage.hidden = !item;
  if (!item) return stage.replaceChildren();
  const context = {
    recommendation_id: page.recommendation_id,
    row: 0,
    row_id: row.row_id,
    position: item.position ?? 0,
  };
  const changed = stage.dataset.contentId !== item.content_id;
  bind(stage, item, context);
  stage.setAttribute("aria-label", `First pick: ${item.name}`);
  const words = h(
    "div",
    { class: "hero-words" },
    h("p", { class: "eyebrow" }, eyebrow(page.profile)),
    h("h1", { class: item.name.length > 28 ? "long" : null }, item.name),
    factLine(item),
    item.reason ? h("p", { class: "reason" }, item.reason) : null,
    h(
      "p",
      { class: "origin" },
      item.source ? h("span", { class: "source" }, item.source) : null,
      h("span", { class: "score" }, scoreWord(item.score)),
    ),
    actions(item),
  );
  if (!changed) return stage.querySelector(".hero-words").replaceWith(words);
  const look = lookOf(item);
  stage.style.setProperty("--ground", look.colours.ground);
  stage.style.setProperty("--main", look.colours.main);
  stage.replaceChildren(h("div", { class: "hero-art" }, drawing(look, 960, 460, "xMidYMid")), words);
  return animate(stage, [{ opacity: 0.2 }, { opacity: 1 }], { duration: 600 });
}

function eyebrow(profile) {
  if (!profile?.known) return "New viewer: nothing is known yet. Play or like something and watch the page learn.";
  return `First pick, from ${profile.n_events} ${profile.n_events === 1 ? "event" : "events"}`;
}
