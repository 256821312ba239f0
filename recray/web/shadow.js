// What the operator sees of a challenger before promoting it: does it work, what does it cost, how much does it change.

import { h } from "./dom.js";
import { number, table } from "./registry.js";

const NONE =
  "Nothing is shadowed: set serving.shadow_share above 0 and let the alias challenger name another bundle than the champion.";

/** The table of one reading of the metrics, or why there is none. */
export function shadowParts({ samples }) {
  const all = [...samples.values()];
  const counts = new Map();
  for (const { name, labels, value } of all) {
    if (name !== "recray_shadow_total") continue;
    counts.set(labels.challenger, { ...counts.get(labels.challenger), [labels.outcome]: value });
  }
  if (!counts.size) return [h("p", { class: "muted" }, NONE)];
  const rows = [...counts].map(([challenger, { answered = 0, degraded = 0, failed = 0, left_out = 0 }]) => [
    h("code", {}, challenger),
    ...[answered, degraded, failed, left_out].map((count) => number(count)),
    share(mean(all, "recray_shadow_overlap", challenger)),
    milliseconds(mean(all, "recray_shadow_ms", challenger, "champion")),
    milliseconds(mean(all, "recray_shadow_ms", challenger, "challenger")),
  ]);
  const columns = ["Challenger", "Answered", "Degraded", "Failed", "Left out", "Titles in common", "Champion", "Challenger"];
  return [table("", columns, rows)];
}

const share = (value) => (Number.isFinite(value) ? `${number(value * 100, 1)} %` : "–");
const milliseconds = (value) => (Number.isFinite(value) ? `${number(value, 2)} ms` : "–");

/** The mean of a histogram since the process started; NaN when nothing was seen. */
function mean(samples, family, challenger, bundle) {
  const part = (suffix) =>
    samples
      .filter(({ name, labels }) => name === family + suffix && labels.challenger === challenger && labels.bundle === bundle)
      .reduce((sum, { value }) => sum + value, 0);
  return part("_sum") / part("_count");
}
