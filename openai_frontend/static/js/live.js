// Speech of a text while it is typed, over the WebSocket: its events are those of a speech request.

import { bytesOf } from "./events.js";
import { Problem } from "./problem.js";
import { Typed } from "./typed.js";

const PAUSE_MS = 1_000; // without typing: what was typed is spoken, complete sentence or not
const REST_MS = 15_000; // without typing: the utterance ends, before the server ends it
const PROTOCOL = "speech";

export class Live {
  #socket = null;
  #session;
  #track;
  #typed = new Typed();
  #text = "";
  #ready = false; // the server has the session's settings
  #open = false; // an utterance takes more text
  #pending = 0; // utterances whose audio is not complete
  #finishing = false;
  #timers = [];
  #begin_s = 0; // of the utterance in the track
  #queue = []; // events, an error at its end if there is one
  #wake = () => {};

  /** `open()`: a new WebSocket; `session`: the settings, as in a speech request; `track`: receives the audio. */
  constructor(open, session, track) {
    this.open = open;
    this.#session = { ...session, response_format: "pcm", word_timestamps: true };
    this.#track = track;
  }

  /** The whole text, after each change. */
  type(text) {
    if (this.#finishing) return;
    this.#text = this.#track.text = this.#track.script.text = text;
    this.#send();
    this.#wait();
  }

  /** Speak the rest, and end. */
  finish() {
    this.#finishing = true;
    this.#timers.forEach(clearTimeout);
    if (!this.#ready) return;
    this.#send({ all: true });
    this.#rest();
    if (!this.#pending) this.#push({ type: "speech.audio.done" });
  }

  /** The events until the end; an abort silences the server. Throws Problem. */
  async *events(signal) {
    const socket = (this.#socket = this.open());
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#configure();
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = () => this.#push(new Problem("The connection was closed. Press Speak to open it again."));
    signal.addEventListener("abort", () => this.#push({ type: "stop" }));
    try {
      for (;;) {
        while (!this.#queue.length) await new Promise((wake) => (this.#wake = wake));
        const event = this.#queue.shift();
        if (event instanceof Error) throw event;
        if (event.type === "stop") return;
        yield event;
        if (event.type === "speech.audio.done") return;
      }
    } finally {
      this.#close();
    }
  }

  #close() {
    this.#timers.forEach(clearTimeout);
    this.#socket.onclose = this.#socket.onmessage = null;
    if (this.#pending) this.#message({ type: "input.cancel" });
    this.#ready = this.#open = false;
    this.#socket.close();
  }

  #configure() {
    this.#socket.send(JSON.stringify({ type: "session.config", ...this.#session }));
  }

  #send(options) {
    if (!this.#ready) return;
    const text = this.#typed.take(this.#text, options);
    if (!text.trim() && !this.#open) return;
    if (text) this.#message({ type: "input.text", text });
    if (!this.#open) this.#pending += 1;
    this.#open = true;
  }

  #wait() {
    this.#timers.forEach(clearTimeout);
    this.#timers = [setTimeout(() => this.#pause(), PAUSE_MS), setTimeout(() => this.#rest(), REST_MS)];
  }

  #pause() {
    this.#send({ all: true });
    if (this.#open) this.#message({ type: "input.commit" });
  }

  #rest() {
    if (this.#open) this.#message({ type: "input.done" });
    this.#open = false;
  }

  #message(fields) {
    if (this.#socket.readyState === 1) this.#socket.send(JSON.stringify(fields));
  }

  #receive(data) {
    if (typeof data !== "string") return this.#push({ type: "audio", bytes: new Uint8Array(data) });
    const message = JSON.parse(data);
    const receive = {
      "session.configured": () => this.#begin(),
      "audio.start": () => this.#start(message),
      "audio.chunk": () => this.#chunk(message),
      "session.done": () => this.#done(),
      error: () => this.#fail(message),
    }[message.type];
    receive?.();
  }

  #begin() {
    this.#ready = true;
    if (this.#finishing) return this.finish();
    this.#send();
    this.#wait();
  }

  #start({ sentence_index: id, sentence_text: text }) {
    const start = this.#received_s();
    if (id === 0) this.#begin_s = start;
    this.#push({ type: "speech.audio.timestamps", segments: [{ id, start, text }] });
  }

  #chunk({ audio_b64: audio, timestamps }) {
    const shift = (word) => ({ ...word, start: word.start + this.#begin_s, end: word.end + this.#begin_s });
    if (timestamps.length) this.#push({ type: "speech.audio.timestamps", words: timestamps.map(shift) });
    this.#push({ type: "audio", bytes: bytesOf(audio) });
  }

  /** The length of all audio so far, with what is queued. */
  #received_s() {
    const queued = this.#queue.reduce((bytes, event) => bytes + (event.bytes?.length ?? 0), 0);
    return this.#track.seconds + queued / 2 / 24_000;
  }

  #done() {
    // One that the server opened while its time-out was on the way was not counted.
    this.#pending = Math.max(0, this.#pending - 1);
    if (this.#finishing && !this.#pending) this.#push({ type: "speech.audio.done" });
  }

  #fail({ message, code, param }) {
    if (param === "word_timestamps") {
      delete this.#session.word_timestamps; // this model has none: sentences are marked
      this.#configure();
    } else if (code === "request_timeout") {
      this.#open = false; // the next text begins another utterance
    } else {
      this.#push(Problem.of(400, { error: { message, code, param } }));
    }
  }

  #push(event) {
    this.#queue.push(event);
    this.#wake();
  }
}

/** A WebSocket to the server, with the key in a subprotocol: browsers can't send other headers. */
export function connect(key, location = globalThis.location) {
  const url = new URL("v1/audio/speech/stream", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  return new WebSocket(url, key ? [PROTOCOL, `bearer.base64url.${base64url(key)}`] : [PROTOCOL]);
}

function base64url(text) {
  const letters = btoa(String.fromCharCode(...new TextEncoder().encode(text)));
  return letters.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
