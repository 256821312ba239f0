// Draws a title's poster from its data: colours from its genres, composition from its content_id. No images exist.

import { h, s } from "./dom.js";
import { MOTIFS } from "./motifs.js";

// Hue in degrees, the lettering, and the compositions that suit the genre (names in motifs.js).
const GENRES = {
  action: [28, "condensed", ["shards", "rays", "stripes", "chevrons"]],
  adventure: [62, "condensed", ["peaks", "sun", "rays"]],
  animation: [330, "round", ["tiles", "dots", "arches"]],
  children: [90, "round", ["tiles", "arches", "dots"]],
  comedy: [75, "round", ["dots", "tiles", "bubbles"]],
  crime: [15, "condensed", ["skyline", "stripes", "rays"]],
  documentary: [215, "mono", ["bars", "orbits", "grid"]],
  drama: [265, "serif", ["arches", "sun", "waves", "bubbles"]],
  family: [100, "round", ["tiles", "arches", "dots"]],
  fantasy: [300, "serif", ["peaks", "orbits", "arches"]],
  "film-noir": [250, "serif", ["stripes", "skyline", "rays"]],
  horror: [22, "serif", ["shards", "eye", "stripes"]],
  imax: [230, "condensed", ["rays", "sun", "chevrons"]],
  musical: [345, "serif", ["waves", "dots", "arches"]],
  music: [345, "serif", ["waves", "dots", "bars"]],
  mystery: [280, "serif", ["eye", "stripes", "orbits"]],
  romance: [5, "serif", ["bubbles", "waves", "sun"]],
  "sci-fi": [200, "mono", ["orbits", "grid", "eye"]],
  "science fiction": [200, "mono", ["orbits", "grid", "eye"]],
  thriller: [180, "condensed", ["rays", "eye", "chevrons", "skyline"]],
  war: [125, "condensed", ["chevrons", "shards", "bars"]],
  western: [48, "condensed", ["sun", "peaks"]],
};
const LETTERING = ["condensed", "serif", "round", "mono"];

/** 32 bits that depend on every character of `text` (FNV-1a). */
export function digest(text) {
  let hash = 0x811c9dc5;
  for (const character of text) hash = Math.imul(hash ^ character.codePointAt(0), 0x01000193);
  return hash >>> 0;
}

/** A repeatable stream of numbers in [0, 1) (mulberry32). */
function stream(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

function genreOf(name) {
  const known = GENRES[name.toLowerCase()];
  if (known) return known;
  const hash = digest(name);
  return [hash % 360, LETTERING[hash % LETTERING.length], Object.keys(MOTIFS)];
}

/** What a title looks like: `colours` from dark to light, the motif and the lettering. */
export function lookOf(item) {
  const random = stream(digest(item.content_id));
  const [named, also = named] = item.genres?.length ? item.genres : [item.name];
  const [first, second] = random() < 0.35 ? [also, named] : [named, also];
  const [hue, lettering, motifs] = genreOf(first);
  const base = hue + (random() - 0.5) * 26;
  const other = second === first ? base + 40 + random() * 60 : genreOf(second)[0] + (random() - 0.5) * 20;
  const dusk = 0.2 + random() * 0.07;
  const colours = {
    ground: `oklch(${dusk.toFixed(3)} 0.055 ${base.toFixed(0)})`,
    deep: `oklch(${(dusk + 0.14).toFixed(3)} 0.1 ${base.toFixed(0)})`,
    main: `oklch(0.64 0.165 ${base.toFixed(0)})`,
    second: `oklch(0.72 0.13 ${other.toFixed(0)})`,
    light: `oklch(0.9 0.055 ${((base + other) / 2).toFixed(0)})`,
  };
  return { colours, lettering, motif: motifs[Math.floor(random() * motifs.length)], random };
}

/** The drawing alone, `width` by `height` units, cropped to fill its box. */
export function drawing(look, width, height, align = "xMidYMin") {
  const shapes = MOTIFS[look.motif](look.random, width, height, look.colours);
  const frame = { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: `${align} slice`, "aria-hidden": "true" };
  return s("svg", { ...frame, class: "drawing" }, shapes);
}

const WIDTH_OF_LETTER = { condensed: 0.6, serif: 0.67, round: 0.62, mono: 0.6 };

/** Letter size in percent of the poster's width at which the longest word fits a line and all words fit the lower half. */
function letterSize(name, lettering) {
  const width = WIDTH_OF_LETTER[lettering];
  const longest = Math.max(...name.split(/[\s-]+/).map((word) => word.length));
  const line = 84 / (width * longest);
  const block = Math.sqrt((84 * 52) / (width * 1.22 * name.length));
  return Math.max(6.4, Math.min(17, line, block)).toFixed(2);
}

/** A poster: drawing, scrim and the name as its typography. */
export function poster(item) {
  const look = lookOf(item);
  const { ground, main, light } = look.colours;
  const vars = { ground, main, light, letter: letterSize(item.name, look.lettering) };
  const name = h("span", { class: "poster-name", lang: "und" }, item.name);
  return h("div", { class: `poster ${look.lettering}`, vars, "aria-hidden": "true" }, drawing(look, 200, 300), name);
}
