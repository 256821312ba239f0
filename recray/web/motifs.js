// The compositions a poster can have. Each is (random, width, height, colours) -> SVG shapes, drawn from back to front.

import { s } from "./dom.js";

const between = (random, low, high) => low + random() * (high - low);
const circle = (cx, cy, r, fill, more = {}) => s("circle", { cx, cy, r, fill, ...more });
const polygon = (points, fill, more = {}) =>
  s("polygon", { points: points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" "), fill, ...more });
const rect = (x, y, width, height, fill, more = {}) => s("rect", { x, y, width, height, fill, ...more });
const path = (d, fill, more = {}) => s("path", { d, fill, ...more });
const range = (n) => Array.from({ length: n }, (_, i) => i);
const ring = (cx, cy, r, stroke, width) => circle(cx, cy, r, "none", { stroke, "stroke-width": width });

function sun(random, w, h, c) {
  const [x, y, r] = [between(random, 0.3, 0.7) * w, between(random, 0.3, 0.38) * h, between(random, 0.22, 0.3) * h];
  const cuts = range(6).map((i) => rect(0, y + (r * (i + 1)) / 6.4, w, 1.5 + i * 1.9, c.deep));
  return [
    rect(0, 0, w, h, c.deep),
    circle(x, y, r * 1.32, c.main, { opacity: 0.28 }),
    circle(x, y, r, c.second),
    ...cuts,
  ];
}

function rays(random, w, h, c) {
  const [x, y] = [between(random, 0.1, 0.9) * w, between(random, 0.08, 0.3) * h];
  const n = 9 + Math.floor(random() * 6);
  const turn = random() * Math.PI;
  const far = Math.hypot(w, h) * 1.2;
  const at = (angle) => [x + Math.cos(angle) * far, y + Math.sin(angle) * far];
  const beams = range(n).map((i) => {
    const angle = turn + (i / n) * Math.PI * 2;
    return polygon([[x, y], at(angle), at(angle + Math.PI / n)], i % 3 ? c.main : c.second, {
      opacity: i % 2 ? 0.85 : 0.5,
    });
  });
  return [rect(0, 0, w, h, c.deep), ...beams, circle(x, y, h * 0.07, c.light)];
}

function stripes(random, w, h, c) {
  const n = 7 + Math.floor(random() * 5);
  const tilt = between(random, -26, 26);
  const step = (h * 0.85) / n;
  const moon = circle(between(random, 0.3, 0.7) * w, h * 0.34, h * between(random, 0.17, 0.24), c.second);
  const slats = range(n + 4).map((i) =>
    rect(-w, (i - 2) * step, w * 3, step * between(random, 0.36, 0.62), c.ground, {
      transform: `rotate(${tilt} ${w / 2} ${h / 3})`,
    }),
  );
  return [rect(0, 0, w, h, c.main), moon, ...slats];
}

function orbits(random, w, h, c) {
  const [x, y] = [between(random, 0.35, 0.65) * w, h * between(random, 0.3, 0.4)];
  const step = h * between(random, 0.065, 0.085);
  const tracks = range(5).flatMap((i) => {
    const [r, angle] = [step * (i + 1.6), random() * Math.PI * 2];
    const moon = circle(
      x + Math.cos(angle) * r,
      y + Math.sin(angle) * r,
      between(random, 3, 9),
      i % 2 ? c.second : c.light,
    );
    return [ring(x, y, r, c.main, i % 2 ? 1 : 2.5), moon];
  });
  return [
    rect(0, 0, w, h, c.deep),
    ...tracks,
    circle(x, y, step, c.main),
    circle(x - step / 3, y - step / 3, step / 2, c.light),
  ];
}

function bubbles(random, w, h, c) {
  const r = h * between(random, 0.17, 0.22);
  const [x, y, gap] = [w / 2, h * 0.34, r * between(random, 0.4, 0.62)];
  const turn = random() * Math.PI;
  const [dx, dy] = [Math.cos(turn) * gap, Math.sin(turn) * gap];
  const pair = [circle(x - dx, y - dy, r, c.main), circle(x + dx, y + dy, r, c.second, { opacity: 0.82 })];
  return [rect(0, 0, w, h, c.deep), ring(x, y, r * 1.75, c.main, 1.2), ...pair, circle(x, y, r * 0.22, c.light)];
}

function shards(random, w, h, c) {
  const fills = [c.main, c.second, c.ground, c.main, c.light];
  const [x, y] = [between(random, 0.35, 0.65) * w, h * between(random, 0.28, 0.4)];
  const pieces = range(9).map((i) => {
    const angle = (i / 9) * Math.PI * 2 + random() * 0.5;
    const [reach, spread] = [between(random, 0.4, 0.8) * h, between(random, 0.16, 0.42)];
    const tip = [x + Math.cos(angle) * reach, y + Math.sin(angle) * reach];
    const side = [x + Math.cos(angle + spread) * reach * 0.45, y + Math.sin(angle + spread) * reach * 0.45];
    return polygon([[x, y], tip, side], fills[i % fills.length], { opacity: 0.92 });
  });
  return [rect(0, 0, w, h, c.deep), ...pieces];
}

function chevrons(random, w, h, c) {
  const n = 6;
  const [lead, step] = [h * between(random, 0.16, 0.3) * (random() < 0.5 ? 1 : -1), h * between(random, 0.1, 0.13)];
  const x = w * between(random, 0.3, 0.7);
  const fills = [c.main, c.deep, c.second, c.main, c.light, c.ground];
  const bands = range(n).map((i) => {
    const y = h * 0.02 + i * step;
    return polygon(
      [
        [0, y],
        [x, y + lead],
        [w, y],
        [w, h * 1.2],
        [0, h * 1.2],
      ],
      fills[i],
    );
  });
  return [rect(0, 0, w, h, c.second), ...bands];
}

function dots(random, w, h, c) {
  const n = w > h ? 15 : 7;
  const step = w / n;
  const [x, y] = [random() * w, random() * h * 0.6];
  const reach = Math.hypot(w, h) * 0.62;
  const grid = range(n * Math.ceil(h / step)).map((i) => {
    const [cx, cy] = [((i % n) + 0.5) * step, (Math.floor(i / n) + 0.5) * step];
    const near = Math.max(0.12, 1 - Math.hypot(cx - x, cy - y) / reach);
    return circle(cx, cy, step * 0.52 * near, near > 0.72 ? c.light : near > 0.45 ? c.second : c.main);
  });
  return [rect(0, 0, w, h, c.deep), ...grid];
}

function tiles(random, w, h, c) {
  const n = w > h ? 7 : 3;
  const a = w / n;
  const fills = [c.main, c.second, c.light, c.ground];
  const pick = () => fills[Math.floor(random() * fills.length)];
  return range(n * Math.ceil(h / a)).flatMap((i) => {
    const [x, y] = [(i % n) * a, Math.floor(i / n) * a];
    const quarter = Math.floor(random() * 4) * 90;
    const shape =
      random() < 0.3
        ? circle(x + a / 2, y + a / 2, a * 0.36, pick())
        : path(`M${x} ${y}h${a}a${a} ${a} 0 0 1-${a} ${a}z`, pick());
    if (shape.tagName === "path") shape.setAttribute("transform", `rotate(${quarter} ${x + a / 2} ${y + a / 2})`);
    return [rect(x, y, a + 0.5, a + 0.5, random() < 0.5 ? c.deep : c.main), shape];
  });
}

function peaks(random, w, h, c) {
  const layer = (top, fill, opacity) => {
    const points = range(6).map((i) => [(i / 5) * w, (top + (i % 2 ? -0.09 : 0.07) * random() * 2) * h]);
    return polygon([[0, h], ...points, [w, h]], fill, { opacity });
  };
  const moon = circle(
    between(random, 0.2, 0.8) * w,
    between(random, 0.14, 0.24) * h,
    between(random, 0.07, 0.13) * h,
    c.light,
  );
  return [
    rect(0, 0, w, h, c.deep),
    moon,
    layer(0.36, c.second, 0.75),
    layer(0.48, c.main, 0.95),
    layer(0.6, c.ground, 1),
  ];
}

function waves(random, w, h, c) {
  const swing = h * between(random, 0.03, 0.07);
  const fills = [c.second, c.main, c.deep, c.light, c.main, c.second, c.ground];
  const bands = range(7).map((i) => {
    const y = h * (0.1 + i * 0.095);
    const lift = swing * (i % 2 ? 1 : -1) * between(random, 0.7, 1.4);
    return path(`M0 ${y}C${w * 0.3} ${y - lift} ${w * 0.6} ${y + lift * 1.6} ${w} ${y - lift / 2}V${h}H0z`, fills[i]);
  });
  return [rect(0, 0, w, h, c.deep), ...bands];
}

function arches(random, w, h, c) {
  const [x, n] = [between(random, 0.3, 0.7) * w, 5];
  const [base, step] = [h * 0.62, h * between(random, 0.075, 0.095)];
  const fills = [c.main, c.deep, c.second, c.ground, c.light];
  const arcs = range(n).map((i) => {
    const r = step * (n - i) + step * 0.3;
    return path(`M${x - r} ${h}V${base - r * 0.25}a${r} ${r} 0 0 1 ${r * 2} 0V${h}z`, fills[i]);
  });
  return [rect(0, 0, w, h, c.deep), ...arcs];
}

function skyline(random, w, h, c) {
  const n = w > h ? 18 : 8;
  const moon = circle(between(random, 0.2, 0.8) * w, h * 0.22, h * between(random, 0.1, 0.16), c.second);
  const towers = range(n).flatMap((i) => {
    const [x, top, wide] = [(i / n) * w, h * between(random, 0.22, 0.5), w / n];
    const lit = range(7)
      .filter(() => random() < 0.45)
      .map((k) => rect(x + wide * 0.3, top + 10 + k * 14, wide * 0.4, 5, c.light, { opacity: 0.85 }));
    return [rect(x, top, wide + 0.5, h, i % 2 ? c.ground : c.deep), ...lit];
  });
  return [rect(0, 0, w, h, c.main), moon, ...towers];
}

function bars(random, w, h, c) {
  const n = w > h ? 16 : 7;
  const fills = [c.main, c.second, c.main, c.light];
  const columns = range(n).map((i) => {
    const tall = h * between(random, 0.12, 0.56);
    return rect((i + 0.18) * (w / n), h * 0.66 - tall, (w / n) * 0.64, tall, fills[i % 4]);
  });
  return [rect(0, 0, w, h, c.deep), ...columns];
}

function grid(random, w, h, c) {
  const [x, y] = [w * between(random, 0.35, 0.65), h * 0.4];
  const line = (x1, y1, x2, y2) => s("line", { x1, y1, x2, y2, stroke: c.main, "stroke-width": 1.4 });
  const floor = [
    ...range(15).map((i) => line(x, y, x + (i - 7) * w * 0.34, h)),
    ...range(8).map((i) => line(0, y + i * i * h * 0.012, w, y + i * i * h * 0.012)),
  ];
  return [
    rect(0, 0, w, h, c.deep),
    circle(x, y - h * 0.06, h * between(random, 0.16, 0.22), c.second),
    rect(0, y, w, h, c.ground),
    ...floor,
  ];
}

function eye(random, w, h, c) {
  const [x, y, r] = [w / 2, h * 0.35, h * between(random, 0.15, 0.19)];
  const lids = range(4).map((i) => {
    const wide = w * (0.74 - i * 0.1);
    const tall = r * (2.9 - i * 0.32);
    return path(
      `M${x - wide} ${y}Q${x} ${y - tall} ${x + wide} ${y}Q${x} ${y + tall} ${x - wide} ${y}z`,
      [c.main, c.deep, c.second, c.ground][i],
    );
  });
  return [
    rect(0, 0, w, h, c.deep),
    ...lids,
    circle(x, y, r * 0.8, c.main),
    circle(x, y, r * 0.42, c.ground),
    circle(x + r * 0.25, y - r * 0.25, r * 0.16, c.light),
  ];
}

export const MOTIFS = {
  sun,
  rays,
  stripes,
  orbits,
  bubbles,
  shards,
  chevrons,
  dots,
  tiles,
  peaks,
  waves,
  arches,
  skyline,
  bars,
  grid,
  eye,
};
