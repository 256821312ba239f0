// Builds elements so that data only ever becomes text or an attribute, never markup.

const SVG = "http://www.w3.org/2000/svg";

const ICONS = {
  play: "M7 4.5v15l13-7.5z",
  like: "M12 20.5C5 15.6 3 12.6 3 9.2A4.7 4.7 0 0 1 12 7a4.7 4.7 0 0 1 9 2.2c0 3.4-2 6.4-9 11.3z",
  dislike: "M7 14H4V4h3zM7 14l4.5 7c1.6 0 2.4-1.2 2.1-2.8L13 15h6c1.3 0 2.2-1.2 1.9-2.4l-1.7-6.9A2.2 2.2 0 0 0 17 4H7",
  hide:
    "M3 3l18 18M10.6 6.1A9.8 9.8 0 0 1 12 6c5.5 0 9 6 9 6a17 17 0 0 1-2.7 3.3M6.5 7.6A16.4 16.4 0 0 0 3 12s3.5 6 9 6" +
    "c1.3 0 2.5-.3 3.6-.8M9.9 9.9a3 3 0 0 0 4.2 4.2",
  why: "M12 8.2v.1M12 11.5v5M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z",
  close: "M5 5l14 14M19 5L5 19",
  search: "M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13zM15.5 15.5L21 21",
  left: "M15 4l-8 8 8 8",
  right: "M9 4l8 8-8 8",
  stop: "M6 6h12v12H6z",
  check: "M4 12.500l5.5 5.500L20 6.5",
  plus: "M12 4v16M4 12h16",
};
const FILLED = new Set(["play", "stop"]);

/** An HTML element. `on` holds listeners, `vars` CSS custom properties; other keys are attributes (false and null: absent). */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element, with the same rules as `h`. */
export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, { on = {}, vars = {}, ...attributes }, children) {
  for (const [name, listener] of Object.entries(on)) element.addEventListener(name, listener);
  for (const [name, value] of Object.entries(vars)) element.style.setProperty(`--${name}`, value);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false)
      element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const $ = (selector, root = document) => root.querySelector(selector);

/** A decorative icon; its button carries the name. */
export function icon(name) {
  const path = s("path", { d: ICONS[name] });
  return s(
    "svg",
    { viewBox: "0 0 24 24", class: FILLED.has(name) ? "icon filled" : "icon", "aria-hidden": "true" },
    path,
  );
}

/** A button that shows only an icon; `label` is read aloud and shown on hover. */
export function iconButton(name, label, attributes = {}) {
  return h(
    "button",
    { type: "button", class: "icon-button", "aria-label": label, title: label, ...attributes },
    icon(name),
  );
}

const calm = matchMedia("(prefers-reduced-motion: reduce)");

/** Animate unless the person asked for less motion. */
export function animate(element, frames, options) {
  return calm.matches
    ? null
    : element.animate(frames, { duration: 420, easing: "cubic-bezier(.2,.8,.2,1)", ...options });
}

let toastTimer = 0;

/** Say something briefly, on screen and to screen readers. `tone` is "good" or "bad". */
export function toast(text, tone = "good") {
  const box = $("#toast");
  box.textContent = text;
  box.dataset.tone = tone;
  box.classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => box.classList.remove("shown"), tone === "bad" ? 8000 : 5000);
}
