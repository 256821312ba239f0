// Reads Prometheus text and says what happened between two readings.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;

/** The samples whose name starts with `prefix`, as {types: Map(family -> type), samples: Map(key -> sample)}. */
export function parse(text, prefix = "recray_") {
  const [types, samples] = [new Map(), new Map()];
  for (const line of text.split("\n")) {
    if (line.startsWith(`# TYPE ${prefix}`)) {
      const [, , name, type] = line.split(" ");
      types.set(name, type.trim());
    } else if (line.startsWith(prefix)) {
      const sample = sampleOf(line);
      if (sample) samples.set(sample.key, sample);
    }
  }
  return { types, samples };
}

function sampleOf(line) {
  const match = LINE.exec(line);
  if (!match) return null;
  const [, name, inside = "", value] = match;
  const labels = Object.fromEntries(
    [...inside.matchAll(LABEL)].map(([, label, word]) => [label, word.replace(/\\(.)/g, "$1")]),
  );
  return { key: `${name}{${inside}}`, name, labels, value: Number(value.replace("Inf", "Infinity")) };
}

/** Counters and gauges: no parts of distributions, no creation times. */
export function plain({ types, samples }) {
  const isPart = (name) =>
    name.endsWith("_created") || /histogram|summary/.test(types.get(name.replace(/_(bucket|sum|count)$/, "")));
  return [...samples.values()].filter(({ name }) => !isPart(name));
}

/** The sum over all label sets of the counters whose name matches, or null when there is none. */
export function total(reading, pattern) {
  const found = plain(reading).filter(({ name }) => name.endsWith("_total") && pattern.test(name));
  return found.length ? found.reduce((sum, { value }) => sum + value, 0) : null;
}

/** What each histogram saw between two readings: [{family, label, count, mean, p50, p99}], in the metric's own unit. */
export function distributions(now, before) {
  const groups = new Map();
  for (const { key, name, labels, value } of now.samples.values()) {
    const [, family, part] = /^(.*)_(bucket|sum|count)$/.exec(name) || [];
    if (!family || now.types.get(family) !== "histogram") continue;
    const { le, ...rest } = labels;
    const label = Object.values(rest).join(" · ");
    const group = groups.get(`${family} ${label}`) || { family, label, buckets: [], sum: 0, count: 0 };
    const grown = Math.max(0, value - (before?.samples.get(key)?.value ?? 0));
    if (part === "bucket") group.buckets.push([Number(le.replace("Inf", "Infinity")), grown]);
    else group[part] = grown;
    groups.set(`${family} ${label}`, group);
  }
  return [...groups.values()].map(digestOf);
}

function digestOf({ family, label, buckets, sum, count }) {
  const sorted = [...buckets].sort(([a], [b]) => a - b);
  return {
    family,
    label,
    count,
    mean: count ? sum / count : NaN,
    p50: quantile(sorted, 0.5),
    p99: quantile(sorted, 0.99),
  };
}

/** Interpolates inside the bucket that holds the quantile, as Prometheus does; NaN when nothing was seen. */
function quantile(buckets, q) {
  const all = buckets.at(-1)?.[1] ?? 0;
  if (!all) return NaN;
  const wanted = q * all;
  const at = buckets.findIndex(([, seen]) => seen >= wanted);
  const [low, under] = at > 0 ? buckets[at - 1] : [0, 0];
  const [high, seen] = buckets[at];
  if (!Number.isFinite(high)) return low;
  return low + ((high - low) * (wanted - under)) / Math.max(seen - under, 1e-9);
}

/** How to show a value of `family`: times become milliseconds, other units stay. */
export function unitOf(family) {
  if (/_(seconds|s)$/.test(family)) return { factor: 1000, unit: "ms" };
  return { factor: 1, unit: /_ms$/.test(family) ? "ms" : "" };
}
