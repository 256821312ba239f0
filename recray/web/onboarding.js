// Genres that a viewer likes: on the page until there is something to go by, and among the settings ever after.
// Titles are picked by liking them, anywhere on the page.

import * as api from "./api.js";
import { $, h, toast } from "./dom.js";

const N_OFFERED = 20;

let catalogue = null;

/** The genres of most titles, asked for until they were answered once. */
async function offered() {
  catalogue ??= (await api.genres()).data.genres.slice(0, N_OFFERED).map(({ name }) => name);
  return catalogue;
}

/** Fill `box` with a button for each genre; `picked` is a set that they change, `toggled(name)` hears of it. */
export async function offerGenres(box, picked, toggled = () => {}) {
  const names = [...new Set([...(await offered()), ...picked])];
  const chip = (name) => {
    const pressed = () => String(picked.has(name));
    const click = ({ currentTarget }) => {
      if (!picked.delete(name)) picked.add(name);
      currentTarget.setAttribute("aria-pressed", pressed());
      toggled(name);
    };
    return h("button", { type: "button", class: "chip", "aria-pressed": pressed(), on: { click } }, name);
  };
  box.replaceChildren(...names.map(chip));
}

/** Wire the panel. `viewer()` says for whom, `changed(words)` asks the page again. */
export function createOnboarding({ viewer, changed }) {
  const box = $("#begin");
  const state = { viewer: null, saved: Promise.resolve() };

  async function fill(asker) {
    const { data } = await api.readProfile(asker);
    const picked = new Set(data.genres);
    const save = (name) => {
      const words = `${picked.has(name) ? "Picked" : "Left out"}: ${name}`;
      const settings = { ...data, genres: [...picked] };
      // One after the other: what was pressed last is what stays.
      state.saved = state.saved
        .then(() => api.writeProfile(asker, settings))
        .then(() => viewer() === asker && changed(words))
        .catch((problem) => toast(problem.message, "bad"));
    };
    await offerGenres($(".chips", box), picked, save);
  }

  return {
    /** What was picked has changed elsewhere: read it again. */
    forget() {
      state.viewer = null;
    },
    /** Show the panel to a viewer of whom nothing is known, and to nobody else. */
    async show({ known }) {
      if (known) state.viewer = null;
      box.hidden = known || state.viewer !== viewer();
      if (known || state.viewer === viewer()) return;
      const asker = viewer();
      state.viewer = asker;
      try {
        await fill(asker);
        box.hidden = state.viewer !== asker;
      } catch {
        state.viewer = null; // the rows are there all the same; the next page asks again
      }
    },
  };
}
