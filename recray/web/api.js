// Talks to the gateway. Every failure arrives as a Problem that carries what the server said.

const ROOT = "/api/v1";

/** A refusal (RFC 9457 problem document) or an unreachable server (status 0). */
export class Problem extends Error {
  constructor(status, title, detail) {
    super(detail || title);
    this.status = status;
    this.title = title;
  }
}

/** Ask `path` and return {data, ms}: the decoded answer and the round trip that the browser measured. */
export async function ask(path, { method = "GET", query = {}, body, signal, token } = {}) {
  const wanted = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const url = wanted.length ? `${path}?${new URLSearchParams(wanted)}` : path;
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (token) headers.Authorization = `Bearer ${token}`;
  const began = performance.now();
  let answer;
  try {
    answer = await fetch(url, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(
      0,
      "The server cannot be reached",
      "No answer came. Check that recray is running, then try again.",
    );
  }
  const text = await answer.text();
  const data = decode(text, answer.headers.get("content-type"));
  if (!answer.ok) throw problemOf(answer, data);
  return { data, ms: performance.now() - began };
}

function decode(text, type) {
  if (!/json/.test(type || "")) return text;
  return text ? JSON.parse(text) : null;
}

function problemOf(answer, data) {
  const title = data?.title || `The server answered ${answer.status}`;
  const detail = typeof data?.detail === "string" ? data.detail : data?.detail && JSON.stringify(data.detail);
  return new Problem(answer.status, title, detail || answer.statusText);
}

const who = ({ user_id, profile_id }) => ({ user_id, profile_id });
const profilePath = ({ user_id, profile_id }) =>
  `${ROOT}/profiles/${encodeURIComponent(user_id)}/${encodeURIComponent(profile_id)}`;

const device = () => (matchMedia("(pointer: coarse)").matches ? "mobile" : "desktop");

export const homepage = (viewer, n_rows, row_size) =>
  ask(`${ROOT}/recommendations/homepage`, {
    query: { ...who(viewer), num_rows: n_rows, row_size, device: device() },
  });

export const postWatch = (viewer, watched_content_id, num_recommendations) =>
  ask(`${ROOT}/recommendations/post-watch`, { query: { ...who(viewer), watched_content_id, num_recommendations } });

export const search = (viewer, query, num_results, signal) =>
  ask(`${ROOT}/recommendations/search`, { query: { ...who(viewer), query, num_results }, signal });

export const category = (viewer, name, num_recommendations, signal) =>
  ask(`${ROOT}/recommendations/category`, { query: { ...who(viewer), category: name, num_recommendations }, signal });

export const explain = (recommendation_id) =>
  ask(`${ROOT}/recommendations/${encodeURIComponent(recommendation_id)}/explain`);

/** Send one event, and send it again once if no answer came: its event_id makes the second a duplicate. */
export async function feedback(viewer, event) {
  const body = { ...who(viewer), event_id: newId(), timestamp: new Date().toISOString(), device: device(), ...event };
  const send = () => ask(`${ROOT}/recommendations/feedback`, { method: "POST", body });
  try {
    return await send();
  } catch (problem) {
    if (problem.status !== 0 && problem.status !== 503) throw problem;
    return send();
  }
}

/** Report which cards were on screen: one request for a list of events. */
export function impressions(viewer, seen) {
  const now = { ...who(viewer), action: "impression", timestamp: new Date().toISOString(), device: device() };
  const body = seen.map((event) => ({ ...now, event_id: newId(), ...event }));
  return ask(`${ROOT}/recommendations/feedback`, { method: "POST", body });
}

export const genres = () => ask(`${ROOT}/genres`);
export const profiles = (limit) => ask(`${ROOT}/profiles`, { query: { limit } });
export const readProfile = (viewer) => ask(profilePath(viewer));
export const writeProfile = (viewer, settings) =>
  ask(profilePath(viewer), { method: "PUT", body: { ...who(viewer), ...settings } });
export const exportProfile = (viewer) => ask(`${profilePath(viewer)}/export`);
export const eraseProfile = (viewer) => ask(profilePath(viewer), { method: "DELETE" });

export const experiments = () => ask(`${ROOT}/experiments`);
export const bundles = () => ask(`${ROOT}/bundles`);
export const promote = (id, token) =>
  ask(`${ROOT}/bundles/${encodeURIComponent(id)}/promote`, { method: "POST", token });
/** Naming the bundle to leave makes it safe to ask again. */
export const rollback = (leaving, token) =>
  ask(`${ROOT}/bundles/rollback?leaving=${encodeURIComponent(leaving)}`, { method: "POST", token });

/** 96 random bits; crypto.randomUUID is missing where the page is served over plain HTTP. */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
