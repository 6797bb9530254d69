// The current request and playback: one request at a time into one player, and the status line.

import { at, icon } from "./dom.js";
import { Speech } from "./speech.js";
import { Timeline } from "./timeline.js";

export class Stage extends EventTarget {
  #player;
  #models;
  #composer;
  #timeline;
  #speech = null; // the request in flight
  #last = null; // the previous one, for its figures
  #say = null;
  #state = "idle";
  #message = "Ready.";
  #note = null; // replaces the status until the next action
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

  /** Whether a request is waiting for its first audio. */
  get isWaiting() {
    return this.isBusy && !this.#speech.track.audible;
  }

  /** Run the request of `track`, whose events come from `open(signal)`. `say` receives the progress in addition to the
   *  page's status. Throws Problem. */
  async perform(track, open, say = null) {
    this.stop();
    const speech = new Speech(track, open);
    [this.#speech, this.#last, this.#say] = [speech, speech, say];
    this.#player.load(track);
    this.#player.play();
    [this.#message, this.#note] = ["Done.", null];
    try {
      await speech.run();
      if (track.stopped) this.#message = "Stopped. The audio so far is kept.";
      if (speech.warnings.length) this.#message += ` ${speech.warnings.join(" ")}`;
    } catch (problem) {
      this.#message = track.audible ? "The audio was interrupted. The part so far is kept." : "Something went wrong.";
      if (this.#speech === speech) this.#state = "error";
      throw problem;
    } finally {
      if (this.#speech === speech) this.#speech = null;
      this.render();
    }
  }

  /** Play an existing track. */
  play(track) {
    this.stop();
    [this.#last, this.#message, this.#note] = [null, "Done.", null];
    this.#player.load(track);
    this.#player.play();
  }

  /** Show a message that is unrelated to the audio. */
  note(text) {
    this.#note = text;
    this.render();
  }

  /** Stop the request and the playback; the audio so far stays in the player. */
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

  /** The status, and its seconds, which screen readers should not repeat. */
  #words(state, heard) {
    const part = heard && heard.count > 1 ? `Part ${heard.number} of ${heard.count}` : null;
    const { track, playing } = this.#player;
    if (state === "waiting") {
      const [model] = this.#models.loading;
      const seconds = model ? Math.max(this.#models.loading_s(model), 0) : this.#speech.seconds;
      return [model ? "Loading the model" : "Waiting for the first audio", `, ${Math.floor(seconds)} s`];
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

/** The speed of a request. */
function figures(speech, track) {
  if (!speech || speech.first_ms === null || speech.track !== track) return "";
  const made_s = (speech.total_ms ?? speech.seconds * 1000) / 1000;
  const pace = (track.seconds / made_s).toFixed(1);
  return `First audio after ${Math.round(speech.first_ms)} ms · ${pace} × real time`;
}
