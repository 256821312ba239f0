// The rows of a page: drawn once, then changed in place so that a person sees what an action moved.

import { card, refill } from "./cards.js";
import { animate, h, iconButton } from "./dom.js";

/** Show `rows` in `container`, reusing rails and cards that stay. `page` names the answer they came from. */
export function renderRows(container, rows, page) {
  const before = places(container);
  const focus = focusIn(container);
  const rails = new Map([...container.querySelectorAll(":scope > .rail")].map((rail) => [rail.dataset.rowId, rail]));
  const kept = rows.map((row, index) => {
    const rail = rails.get(row.row_id) || emptyRail(row.row_id);
    fillRail(rail, row, { recommendation_id: page.recommendation_id, row: index, row_id: row.row_id });
    return rail;
  });
  container.replaceChildren(...kept);
  restore(container, focus);
  if (before.size) move(container, before);
}

/** Placeholders while the first answer is on its way. */
export function skeletons(n_rails, n_cards) {
  const ghosts = () => Array.from({ length: n_cards }, () => h("div", { class: "ghost" }));
  const rail = () =>
    h("div", { class: "rail loading" }, h("div", { class: "ghost-line" }), h("div", { class: "track" }, ghosts()));
  return Array.from({ length: n_rails }, rail);
}

function emptyRail(row_id) {
  const track = h("div", { class: "track", on: { scroll: (event) => mark(event.currentTarget) } });
  const scroll = (sign) => track.scrollBy({ left: sign * track.clientWidth * 0.85, behavior: "smooth" });
  const arrow = (name, label, sign) =>
    iconButton(name, label, { class: `icon-button scroll-${name}`, on: { click: () => scroll(sign) } });
  const heading = h("div", { class: "rail-words" }, h("h2", {}), h("p", { class: "rail-reason" }));
  const arrows = h("div", { class: "arrows" }, arrow("left", "Scroll back", -1), arrow("right", "Scroll on", 1));
  return h(
    "section",
    { class: "rail", "data-row-id": row_id },
    h("header", { class: "rail-head" }, heading, arrows),
    track,
  );
}

function fillRail(rail, row, context) {
  const track = rail.querySelector(".track");
  const cards = new Map([...track.children].map((element) => [element.dataset.contentId, element]));
  rail.querySelector("h2").textContent = row.title;
  rail.querySelector(".rail-reason").textContent = row.reason || "";
  rail.setAttribute("aria-label", row.title);
  track.replaceChildren(
    ...row.items.map((item, position) => {
      const mine = { ...context, position: item.position ?? position };
      const old = cards.get(item.content_id);
      return old ? refill(old, item, mine) : card(item, mine);
    }),
  );
  setEntry(track, track.children[0]);
  requestAnimationFrame(() => mark(track));
}

/** Only one card of a track takes part in the Tab order; arrow keys move between cards. */
function setEntry(track, chosen) {
  for (const element of track.children) element.tabIndex = element === chosen ? 0 : -1;
}

function mark(track) {
  const rail = track.closest(".rail");
  const [back, on] = [rail?.querySelector(".scroll-left"), rail?.querySelector(".scroll-right")];
  if (!back) return;
  back.disabled = track.scrollLeft < 8;
  on.disabled = track.scrollLeft + track.clientWidth > track.scrollWidth - 8;
  rail.classList.toggle("fits", track.scrollWidth <= track.clientWidth + 8);
}

function places(container) {
  const boxes = [...container.querySelectorAll(".card")].map((element) => [element, element.getBoundingClientRect()]);
  return new Map(boxes);
}

/** Slide cards from where they were, and let new ones rise: first-last-invert-play. */
function move(container, before) {
  for (const element of container.querySelectorAll(".card")) {
    const [was, is] = [before.get(element), element.getBoundingClientRect()];
    element.classList.remove("leaving", "open");
    if (!was) {
      element.classList.add("fresh");
      setTimeout(() => element.classList.remove("fresh"), 4000);
      animate(
        element,
        [
          { opacity: 0, transform: "translateY(18px) scale(.94)" },
          { opacity: 1, transform: "none" },
        ],
        {},
      );
    } else if (was.left !== is.left || was.top !== is.top) {
      const shift = `translate(${was.left - is.left}px, ${was.top - is.top}px)`;
      animate(element, [{ transform: shift }, { transform: "none" }], {});
    }
  }
}

function focusIn(container) {
  const active = document.activeElement?.closest(".card");
  if (!active || !container.contains(active)) return null;
  const track = active.parentElement;
  return { active, track, index: [...track.children].indexOf(active) };
}

function restore(container, focus) {
  if (!focus || (container.contains(focus.active) && container.contains(document.activeElement))) return;
  const track = container.contains(focus.track) ? focus.track : container.querySelector(".track");
  const next = container.contains(focus.active)
    ? focus.active
    : track?.children[Math.min(focus.index, track.children.length - 1)];
  next?.focus({ preventScroll: true });
}

/** Arrow keys, Home and End move between cards; up and down between rails. Returns whether the key was used. */
export function steer(event, root = document) {
  const active = event.target.closest?.(".card");
  if (!active || event.altKey || event.ctrlKey || event.metaKey) return false;
  const target = neighbour(active, event.key, root);
  if (!target) return false;
  event.preventDefault();
  setEntry(target.parentElement, target);
  target.focus({ preventScroll: true });
  target.scrollIntoView({ block: "nearest", inline: "nearest", behavior: "smooth" });
  return true;
}

function neighbour(active, key, root) {
  const siblings = [...active.parentElement.children];
  const index = siblings.indexOf(active);
  if (key === "ArrowRight") return siblings[index + 1];
  if (key === "ArrowLeft") return siblings[index - 1];
  if (key === "Home") return siblings[0];
  if (key === "End") return siblings.at(-1);
  if (key !== "ArrowUp" && key !== "ArrowDown") return null;
  const tracks = [...root.querySelectorAll(".track")].filter(
    (track) => track.querySelector(".card") && track.offsetParent,
  );
  const track = tracks[tracks.indexOf(active.parentElement) + (key === "ArrowDown" ? 1 : -1)];
  return track && nearest(track, active.getBoundingClientRect().left);
}

function nearest(track, left) {
  const distance = (element) => Math.abs(element.getBoundingClientRect().left - left);
  return [...track.children].reduce((best, element) => (distance(element) < distance(best) ? element : best));
}
