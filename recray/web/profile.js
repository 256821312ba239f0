// Who is watching: switch between profiles, start as a new viewer, change a profile's settings, take or erase its data.

import * as api from "./api.js";
import { digest } from "./art.js";
import { $, h, toast } from "./dom.js";
import { offerGenres } from "./onboarding.js";

const AGE_GROUPS = ["under-18", "18-24", "25-34", "35-44", "45-49", "50-55", "56-plus"];
const LIMITS = [
  [0, "All ages only"],
  [7, "up to 7"],
  [13, "up to 13"],
  [16, "up to 16"],
  [18, "up to 18"],
];
const COUNTRIES = [
  "AR",
  "AU",
  "BR",
  "CA",
  "CH",
  "DE",
  "ES",
  "FR",
  "GB",
  "IN",
  "IT",
  "JP",
  "KR",
  "MX",
  "NL",
  "PL",
  "SE",
  "US",
  "ZA",
];

/** Genres picked in the open form. */
const picked = new Set();

export const sameViewer = (a, b) => a.user_id === b.user_id && a.profile_id === b.profile_id;

/** A viewer nobody has seen before. */
export const newViewer = () => ({ user_id: `new-${api.newId().slice(0, 8)}`, profile_id: "main" });

/** A round mark whose colours depend on who it is. */
export function avatar({ user_id, profile_id }) {
  const hash = digest(`${user_id}/${profile_id}`);
  const letter = (user_id.match(/[a-z0-9]/i) || ["?"])[0];
  const vars = { one: `oklch(0.72 0.15 ${hash % 360})`, two: `oklch(0.62 0.15 ${(hash >>> 9) % 360})` };
  return h(
    "span",
    { class: "avatar", vars, "aria-hidden": "true" },
    user_id.length <= 3 ? user_id : letter.toUpperCase(),
  );
}

/** Wire the drawer. `switchTo(viewer)` changes the page's viewer; `changed(words)` asks the page again. */
export function createProfiles({ switchTo, changed }) {
  const drawer = $("#profile");
  const state = { samples: [], viewer: null };

  async function open(viewer) {
    state.viewer = viewer;
    $("#user-id").value = viewer.user_id;
    $("#profile-id").value = viewer.profile_id;
    listSamples(state, choose);
    drawer.showModal();
    await fillSettings(viewer);
  }

  function choose(viewer) {
    drawer.close();
    switchTo(viewer);
  }

  async function save(event) {
    event.preventDefault();
    await attempt(async () => {
      await api.writeProfile(state.viewer, readSettings(event.target));
      drawer.close();
      changed("Settings saved");
    });
  }

  async function erase() {
    if ($("#erase").dataset.armed !== "yes") return arm("yes", "Press again to erase everything");
    return attempt(async () => {
      await api.eraseProfile(state.viewer);
      drawer.close();
      changed("Profile erased");
    });
  }

  drawer.addEventListener("close", () => arm("no", "Erase this profile"));
  $("#new-viewer").addEventListener("click", () => choose(newViewer()));
  $("#settings-form").addEventListener("submit", save);
  $("#erase").addEventListener("click", erase);
  $("#export").addEventListener("click", () => attempt(() => download(state.viewer)));
  $("#who-form").addEventListener("submit", (event) => {
    event.preventDefault();
    choose({ user_id: $("#user-id").value.trim(), profile_id: $("#profile-id").value.trim() });
  });
  fillChoices();

  return {
    open,
    /** The profiles that the server offers to try; none if it offers none. */
    async load() {
      state.samples = await api.profiles(12).then(
        ({ data }) => data.profiles,
        () => [],
      );
      return state.samples;
    },
    labelOf: (viewer) => state.samples.find((sample) => sameViewer(sample, viewer))?.label || viewer.user_id,
  };
}

function arm(armed, words) {
  $("#erase").dataset.armed = armed;
  $("#erase").textContent = words;
}

async function attempt(work) {
  try {
    await work();
  } catch (problem) {
    toast(problem.message, "bad");
    $("#profile-problem").textContent = problem.message;
  }
}

function listSamples({ samples, viewer }, choose) {
  const button = (sample) =>
    h(
      "button",
      {
        type: "button",
        class: "who",
        "aria-pressed": String(sameViewer(sample, viewer)),
        on: { click: () => choose(sample) },
      },
      avatar(sample),
      h("span", {}, sample.label || sample.user_id),
    );
  $("#samples").replaceChildren(...samples.map(button));
}

function fillChoices() {
  const option = (value, text) => h("option", { value }, text);
  $("#age-group").append(
    option("", "Not said"),
    ...AGE_GROUPS.map((group) => option(group, group.replace("-plus", " and over"))),
  );
  $("#maturity-limit").append(option("", "No limit"), ...LIMITS.map(([limit, text]) => option(String(limit), text)));
  $("#countries").append(...COUNTRIES.map((code) => option(code, code)));
}

async function fillSettings(viewer) {
  const form = $("#settings-form");
  form.inert = true;
  $("#profile-problem").textContent = "";
  await attempt(async () => {
    const { data } = await api.readProfile(viewer);
    const limit = data.maturity_limit === null || data.maturity_limit === undefined ? "" : String(data.maturity_limit);
    const choices = $("#maturity-limit");
    if (![...choices.options].some((choice) => choice.value === limit))
      choices.append(h("option", { value: limit }, `up to ${limit}`));
    form.country.value = data.country || "";
    form.language.value = data.language || "";
    form.age_group.value = data.age_group || "";
    form.maturity_limit.value = limit;
    form.consent.checked = data.consent !== false;
    picked.clear();
    data.genres.forEach((name) => picked.add(name));
    await offerGenres($("#genres"), picked);
  });
  form.inert = false;
}

function readSettings(form) {
  const word = (field) => field.value.trim() || null;
  const limit = word(form.maturity_limit);
  return {
    country: word(form.country)?.toUpperCase() ?? null,
    language: word(form.language),
    age_group: word(form.age_group),
    maturity_limit: limit === null ? null : Number(limit),
    consent: form.consent.checked,
    genres: [...picked],
  };
}

async function download(viewer) {
  const { data } = await api.exportProfile(viewer);
  const url = URL.createObjectURL(new Blob([JSON.stringify(data, null, 2)], { type: "application/json" }));
  h("a", { href: url, download: `${viewer.user_id}-${viewer.profile_id}.json` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
