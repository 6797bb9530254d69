// The page's only audio output: plays a track from any position while it still grows. Loading a track ends the previous
// one. It schedules buffers instead of using an AudioWorklet, which exists on https and localhost only, since this page
// is also used over plain http in local networks.

import { RATE_HZ } from "./pcm.js";

const LEAD_S = 0.05; // delay of the first scheduled piece
const AHEAD_S = 5; // audio scheduled ahead; a background page runs once a second
const PIECE_SAMPLES = RATE_HZ; // a second
const TICK_MS = 100;

export class Player extends EventTarget {
  track = null;
  playing = false; // requested by the user, even if there is nothing to play yet
  #context = null;
  #pieces = []; // { source, begin_s, from, count }, in order
  #cursor = 0; // the next sample to schedule
  #place = 0; // the position while nothing is scheduled
  #next_s = 0;
  #turn = 0; // changes with each seek: data read for an older one is dropped
  #reading = false;
  #timer = null;
  #grow = () => this.#pump();

  /** Load `track`; null for none. */
  load(track) {
    this.track?.removeEventListener("grow", this.#grow);
    this.#silence();
    this.#rest();
    this.track = track;
    this.#cursor = this.#place = 0;
    track?.addEventListener("grow", this.#grow);
    this.#changed();
  }

  /** Play from the current position, or from the start at the end. Browsers require a call from a click. */
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

  /** Seek to a time in the track; playback continues from there. */
  seek(seconds) {
    if (!this.track) return;
    const end = this.track.pcm.samples;
    this.#jump(Math.min(Math.max(0, Math.round(seconds * RATE_HZ)), end));
    this.#pump();
    this.#changed();
  }

  /** The current position, in seconds. */
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
    // Pieces that have ended are dropped, except the last one, which determines the position.
    const current = this.#pieces.findLastIndex((piece) => piece.begin_s <= this.#context.currentTime);
    if (current > 0) this.#pieces.splice(0, current);
    this.#next_s = begin_s + buffer.duration;
    this.#cursor += samples.length;
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
