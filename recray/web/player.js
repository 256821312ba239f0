// A bar that stands for watching: time runs fast, and stopping reports how far the viewer came.

import { poster } from "./art.js";
import { percent } from "./cards.js";
import { $, icon } from "./dom.js";

const FINISHED = 0.9;
const TICK_MS = 200;
const STEP = 0.004;

/** The one player. `onStop(title, action, progress)` is told once for each play. */
export function createPlayer(onStop) {
  const bar = $("#player");
  const state = { title: null, progress: 0, timer: 0 };
  const [range, share, stop, end] = ["#player-range", "#player-share", "#player-stop", "#player-end"].map((id) =>
    $(id),
  );
  const [name, art] = [$("#player-name"), $("#player-art")];
  stop.prepend(icon("stop"));
  end.prepend(icon("check"));
  range.addEventListener("input", () => set(range.valueAsNumber / 100));
  stop.addEventListener("click", () => finish());
  end.addEventListener("click", () => finish(1));

  function set(progress) {
    state.progress = Math.min(1, progress);
    range.value = String(Math.round(state.progress * 100));
    bar.style.setProperty("--progress", state.progress);
    share.textContent = percent(state.progress);
    stop.lastElementChild.textContent = `Stop at ${percent(state.progress)}`;
  }

  function tick() {
    if (!document.hidden && document.activeElement !== range) set(state.progress + STEP);
    if (state.progress >= 1) finish(1);
  }

  function play(title) {
    if (state.title) finish();
    state.title = title;
    name.textContent = title.item.name;
    art.replaceChildren(poster(title.item));
    set(title.item.progress && title.item.progress < FINISHED ? title.item.progress : 0);
    bar.hidden = false;
    document.body.classList.add("playing");
    state.timer = setInterval(tick, TICK_MS);
  }

  function finish(progress = state.progress) {
    const { title } = state;
    close();
    if (title) onStop(title, progress >= FINISHED ? "complete" : "progress", Number(progress.toFixed(2)));
  }

  function close() {
    clearInterval(state.timer);
    state.title = null;
    bar.hidden = true;
    document.body.classList.remove("playing");
  }

  /** Stop, if something plays: the event names the viewer who pressed play. */
  const leave = () => state.title && finish();

  return { play, leave };
}
