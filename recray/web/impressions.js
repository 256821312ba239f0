// Reports which cards were really on screen, so that the next training run knows what was seen and not chosen.

import { titleAt } from "./cards.js";

const DWELL_MS = 1000;
const SEND_EVERY_MS = 3000;

/** Watch cards for visibility. `send(events)` gets each title of an answer once; call `look(container)` after drawing. */
export function watchImpressions(send) {
  const reported = new Set();
  const waiting = new Map();
  let batch = [];

  const observer = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        clearTimeout(waiting.get(target));
        if (isIntersecting)
          waiting.set(
            target,
            setTimeout(() => note(target), DWELL_MS),
          );
      }
    },
    { threshold: 0.6 },
  );

  function note(element) {
    const title = element.isConnected ? titleAt(element) : null;
    if (!title || document.hidden) return;
    const { recommendation_id, row, position } = title.context;
    const key = `${recommendation_id} ${title.item.content_id}`;
    if (reported.has(key)) return;
    reported.add(key);
    batch.push({ content_id: title.item.content_id, recommendation_id, row, position });
  }

  setInterval(() => {
    if (!batch.length) return;
    send(batch);
    batch = [];
  }, SEND_EVERY_MS);

  return {
    look(container) {
      observer.disconnect();
      container.querySelectorAll(".card").forEach((element) => observer.observe(element));
    },
    /** Another viewer: what was not sent yet belongs to nobody on this page. */
    forget() {
      batch = [];
      reported.clear();
    },
  };
}
