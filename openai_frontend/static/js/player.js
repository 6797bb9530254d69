// The page's one loudspeaker: plays a track while it still grows, from any place in it. What was loaded before ends.
// Scheduled buffers, not an AudioWorklet: that one exists on https and localhost only, and this page is also opened by
// the plain http address of a machine at home.

import { RATE_HZ } from "./pcm.js";

const LEAD_S = 0.05; // how far ahead of the loudspeaker a piece is scheduled when nothing plays
const AHEAD_S = 5; // how much is scheduled; a page in the background is woken once a second
const PIECE_SAMPLES = RATE_HZ; // a second
const TICK_MS = 100;

export class Player extends EventTarget {
  track = null;
  playing = false; // wanted by the listener, even if nothing is there to play yet
  #context = null;
  #pieces = []; // { source, begin_s, from, count }, in order
  #cursor = 0; // the next sample to schedule
  #place = 0; // where the listener is while nothing is scheduled
  #next_s = 0;
  #turn = 0; // changes with each jump: what was read for an older one is dropped
  #reading = false;
  #timer = null;
  #grow = () => this.#pump();

  /** Make `track` the one that is played; null for none. */
  load(track) {
    this.track?.removeEventListener("grow", this.#grow);
    this.#silence();
    this.#rest();
    this.track = track;
    this.#cursor = this.#place = 0;
    track?.addEventListener("grow", this.#grow);
    this.#changed();
  }

  /** Play from where the listener is; from the start again at the end. Call it from a click: browsers want that. */
  play() {
    if (!this.track) return;
    this.#context ??= new AudioContext({ sampleRate: RATE_HZ });
    this.#context.resume();
    if (this.track.complete && this.seconds >= this.track.seconds) this.#jump(0);
    this.playing = true;
    this.#timer ??= setInterval(() => this.#tick(), TICK_MS);
    this.#pump();
    this.#changed();
  }

  pause() {
    this.#rest();
    this.#changed();
  }

  /** Go to a time in the track; it plays on from there if it played. */
  seek(seconds) {
    if (!this.track) return;
    const end = this.track.pcm.samples;
    this.#jump(Math.min(Math.max(0, Math.round(seconds * RATE_HZ)), end));
    this.#pump();
    this.#changed();
  }

  /** Where the listener is, in seconds. */
  get seconds() {
    const now_s = this.#context?.currentTime ?? 0;
    const heard = this.#pieces.findLast(({ begin_s }) => begin_s <= now_s);
    if (!heard) return (this.#pieces[0]?.from ?? this.#place) / RATE_HZ;
    return (heard.from + Math.min((now_s - heard.begin_s) * RATE_HZ, heard.count)) / RATE_HZ;
  }

  #rest() {
    this.playing = false;
    clearInterval(this.#timer);
    this.#timer = null;
    this.#context?.suspend();
  }

  #jump(sample) {
    this.#silence();
    this.#cursor = this.#place = sample;
  }

  #silence() {
    for (const { source } of this.#pieces) source.stop();
    this.#pieces = [];
    this.#next_s = 0;
    this.#turn++;
    this.#reading = false;
  }

  #tick() {
    const { track } = this;
    const played = this.#cursor >= (track?.pcm.samples ?? 0) && this.#context.currentTime >= this.#next_s;
    if (track?.complete && played && !this.#reading) {
      this.#jump(track.pcm.samples);
      this.#rest();
      this.#changed();
    } else {
      this.#pump();
    }
  }

  async #pump() {
    const turn = this.#turn;
    if (this.#reading || !this.playing) return;
    this.#reading = true;
    while (
      this.playing &&
      this.#cursor < this.track.pcm.samples &&
      this.#next_s < this.#context.currentTime + AHEAD_S
    ) {
      const samples = await this.track.pcm.read(this.#cursor, PIECE_SAMPLES);
      if (turn !== this.#turn) return;
      this.#schedule(samples);
    }
    this.#reading = false;
  }

  #schedule(samples) {
    const buffer = this.#context.createBuffer(1, samples.length, RATE_HZ);
    buffer.copyToChannel(samples, 0);
    const source = this.#context.createBufferSource();
    source.buffer = buffer;
    source.connect(this.#context.destination);
    const begin_s = Math.max(this.#next_s, this.#context.currentTime + LEAD_S);
    source.start(begin_s);
    this.#pieces.push({ source, begin_s, from: this.#cursor, count: samples.length });
    // What is over is not needed any more, but for the last one, which says where the listener is.
    const current = this.#pieces.findLastIndex((piece) => piece.begin_s <= this.#context.currentTime);
    if (current > 0) this.#pieces.splice(0, current);
    this.#next_s = begin_s + buffer.duration;
    this.#cursor += samples.length;
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
