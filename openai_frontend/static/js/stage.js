// What is spoken and heard right now: one request at a time into one player, and what is said of it.

import { at, icon } from "./dom.js";
import { Speech } from "./speech.js";
import { Timeline } from "./timeline.js";

export class Stage extends EventTarget {
  #player;
  #models;
  #composer;
  #timeline;
  #speech = null; // the request that runs
  #last = null; // the one before, for its figures
  #say = null;
  #state = "idle";
  #message = "Ready.";
  #note = null; // said instead of what is going on, until something else begins
  #frame = null;

  constructor(player, models, composer) {
    super();
    [this.#player, this.#models, this.#composer] = [player, models, composer];
    this.#timeline = new Timeline(player);
    player.addEventListener("change", () => this.render());
    at("play").addEventListener("click", () => (player.playing ? player.pause() : player.play()));
  }

  get isBusy() {
    return this.#speech !== null;
  }

  /** Whether a request waits for its first sound. */
  get isWaiting() {
    return this.isBusy && !this.#speech.track.audible;
  }

  /** Speak `track`, whose events come from `open(signal)`, until all is there. `say` gets the progress in words besides
   *  the page's own status. Raises Problem. */
  async perform(track, open, say = null) {
    this.stop();
    const speech = new Speech(track, open);
    [this.#speech, this.#last, this.#say] = [speech, speech, say];
    this.#player.load(track);
    this.#player.play();
    [this.#message, this.#note] = ["Done.", null];
    try {
      await speech.run();
      if (track.stopped) this.#message = "Stopped. What was made until then is kept.";
      if (speech.warnings.length) this.#message += ` ${speech.warnings.join(" ")}`;
    } catch (problem) {
      this.#message = track.audible ? "The audio was interrupted. The part before is kept." : "Something went wrong.";
      if (this.#speech === speech) this.#state = "error";
      throw problem;
    } finally {
      if (this.#speech === speech) this.#speech = null;
      this.render();
    }
  }

  /** Play a track that is there already. */
  play(track) {
    this.stop();
    [this.#last, this.#message, this.#note] = [null, "Done.", null];
    this.#player.load(track);
    this.#player.play();
  }

  /** Say something that has nothing to do with the sound. */
  note(text) {
    this.#note = text;
    this.render();
  }

  /** End the request and the sound; what was made so far stays in the player. */
  stop() {
    const speech = this.#speech;
    this.#speech = null;
    this.#state = "idle";
    speech?.stop();
    this.#player.pause();
  }

  render() {
    const { track, playing, seconds } = this.#player;
    const heard = track?.script.at(seconds);
    const state = this.#now(playing);
    const [text, clock] = this.#words(state, heard);
    if (document.body.dataset.state !== state) this.#face(state);
    this.#button(playing, track);
    if (at("status").textContent !== text) {
      at("status").textContent = text;
      this.#say?.(text);
    }
    at("clock").textContent = clock;
    at("figures").textContent = figures(this.#last, track);
    const isInside = playing || this.isBusy || (seconds > 0 && seconds < (track?.seconds ?? 0));
    this.#composer.mark(track?.text, isInside ? heard?.range : null, heard?.word);
    this.#timeline.draw();
    if ((playing || this.isBusy) && this.#frame === null) {
      this.#frame = requestAnimationFrame(() => {
        this.#frame = null;
        this.render();
      });
    }
  }

  #now(playing) {
    if (this.isBusy) {
      this.#state = this.isWaiting ? "waiting" : "speaking";
    } else if (this.#state !== "error") {
      this.#state = playing ? "playing" : "idle";
    }
    return this.#state;
  }

  /** The status, and the seconds behind it, which a screen reader is not to repeat. */
  #words(state, heard) {
    const part = heard && heard.count > 1 ? `Part ${heard.number} of ${heard.count}` : null;
    const { track, playing } = this.#player;
    if (state === "waiting") {
      const [model] = this.#models.loading;
      const seconds = model ? Math.max(this.#models.loading_s(model), 0) : this.#speech.seconds;
      return [model ? "Loading the model" : "Waiting for the first sound", `, ${Math.floor(seconds)} s`];
    }
    if (this.#note) return [this.#note, ""];
    if (state === "speaking") return [`${playing ? "Speaking" : "Paused"}${part ? `: ${part}` : ""}`, ""];
    if (state === "playing") return [`Playing${part ? `: ${part}` : ""}`, ""];
    const isInside = track?.complete && this.#player.seconds > 0 && this.#player.seconds < track.seconds;
    return [state === "idle" && isInside && !track.stopped ? "Paused." : this.#message, ""];
  }

  #face(state) {
    document.body.dataset.state = state;
    const busy = state === "waiting" || state === "speaking";
    const label = Object.assign(document.createElement("span"), { textContent: busy ? "Stop" : "Speak" });
    at("speak").replaceChildren(icon(busy ? "stop" : "speak"), label);
    this.dispatchEvent(new Event("change"));
  }

  #button(playing, track) {
    const button = at("play");
    button.disabled = !track;
    at("download").disabled = !track?.complete || !track.pcm.samples;
    const label = playing ? "Pause" : "Play";
    if (button.getAttribute("aria-label") === label && button.dataset.drawn === label) return;
    button.dataset.drawn = label;
    button.setAttribute("aria-label", label);
    button.replaceChildren(icon(playing ? "pause" : "play"));
  }
}

/** How fast it was. */
function figures(speech, track) {
  if (!speech || speech.first_ms === null || speech.track !== track) return "";
  const made_s = (speech.total_ms ?? speech.seconds * 1000) / 1000;
  const pace = (track.seconds / made_s).toFixed(1);
  return `First sound after ${Math.round(speech.first_ms)} ms · made at ${pace} × real time`;
}
