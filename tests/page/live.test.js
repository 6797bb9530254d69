import assert from "node:assert/strict";
import { test } from "node:test";

import { connect, Live } from "../../openai_frontend/static/js/live.js";
import { Track } from "../../openai_frontend/static/js/track.js";

class FakeSocket {
  readyState = 1;
  sent = [];
  closed = false;
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  close() {
    this.closed = true;
  }
  receive(message) {
    this.onmessage({ data: message instanceof ArrayBuffer ? message : JSON.stringify(message) });
  }
  take() {
    return this.sent.splice(0).map(({ type, text }) => (text === undefined ? type : `${type} ${text}`));
  }
}

function begin(t, session = { voice: "alloy" }) {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const [socket, track, abort, events] = [new FakeSocket(), new Track({ text: "" }), new AbortController(), []];
  const live = new Live(() => socket, session, track);
  const done = (async () => {
    for await (const event of live.events(abort.signal)) {
      events.push(event);
      if (event.type === "audio") track.push(event.bytes);
      if (event.type === "speech.audio.timestamps") track.script.add(event.segments, event.words);
    }
  })();
  done.catch(() => {});
  socket.onopen();
  return { socket, track, abort, events, live, done, tick: (ms) => t.mock.timers.tick(ms) };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

test("typed words are sent when they are complete, the rest after a pause, and a long rest ends the utterance", (t) => {
  const { socket, live, tick } = begin(t);
  live.type("Hello wor");
  assert.deepEqual(socket.take(), ["session.config"]);
  socket.receive({ type: "session.configured" });
  assert.deepEqual(socket.take(), ["input.text Hello "]);
  live.type("Hello world. How");
  assert.deepEqual(socket.take(), ["input.text world. "]);
  tick(1000);
  assert.deepEqual(socket.take(), ["input.text How", "input.commit"]);
  tick(14_000);
  assert.deepEqual(socket.take(), ["input.done"]);
  live.type("Hello world. How are you? ");
  assert.deepEqual(socket.take(), ["input.text  are you? "]);
});

test("words are marked at their time in all audio, and sentences where a model has no word times", async (t) => {
  const { socket, track, live, events } = begin(t);
  live.type("One two. Three. ");
  socket.receive({ type: "session.configured" });
  socket.receive(new ArrayBuffer(48_000)); // a second of an utterance before
  await settled();
  socket.receive({ type: "audio.start", sentence_index: 0, sentence_text: "One two." });
  const word = { word: "two.", start: 0.5, end: 0.9 };
  socket.receive({ type: "audio.chunk", audio_b64: btoa("\0".repeat(48_000)), timestamps: [word] });
  socket.receive({ type: "audio.start", sentence_index: 1, sentence_text: "Three." });
  socket.receive(new ArrayBuffer(4_800));
  await settled();
  assert.equal(track.seconds, 2.1);
  assert.deepEqual(track.script.at(1.6).word, { begin: 4, end: 8 });
  assert.deepEqual(track.script.at(2.05).range, { begin: 9, end: 15 });
  assert.equal(events.filter(({ type }) => type === "audio").length, 3);
});

test("a model without word times is configured again without them", (t) => {
  const { socket } = begin(t);
  assert.equal(socket.sent.pop().word_timestamps, true);
  socket.receive({ type: "error", code: "unsupported_parameter", param: "word_timestamps", message: "no" });
  assert.equal("word_timestamps" in socket.sent.pop(), false);
});

test("stop silences the server at once and closes the connection", async (t) => {
  const { socket, live, abort, done } = begin(t);
  live.type("Hello there. ");
  socket.receive({ type: "session.configured" });
  socket.take();
  abort.abort();
  await done;
  assert.deepEqual(socket.take(), ["input.cancel"]);
  assert.equal(socket.closed, true);
});

test("the end speaks the rest and waits for its audio", async (t) => {
  const { socket, live, events, done } = begin(t);
  live.type("The end");
  live.finish();
  socket.receive({ type: "session.configured" });
  assert.deepEqual(socket.take(), ["session.config", "input.text The end", "input.done"]);
  socket.receive({ type: "session.done" });
  await done;
  assert.equal(events.at(-1).type, "speech.audio.done");
});

test("after the end nothing more is sent, however late its audio is", async (t) => {
  const { socket, live, events, done, tick } = begin(t);
  live.type("First. ");
  socket.receive({ type: "session.configured" });
  tick(15_000);
  live.type("First. The end");
  live.finish();
  assert.deepEqual(socket.take().slice(-3), ["input.text The ", "input.text end", "input.done"]);
  live.type("First. The end and more. ");
  tick(15_000);
  assert.deepEqual(socket.take(), []);
  socket.receive({ type: "session.done" }); // of the first utterance
  await settled();
  assert.equal(events.length, 0);
  socket.receive({ type: "session.done" });
  await done;
  assert.equal(events.at(-1).type, "speech.audio.done");
});

test("an error of the server is an error with its text", async (t) => {
  const { socket, done } = begin(t);
  socket.receive({ type: "error", message: "The voice is unknown.", code: "voice_not_found", param: "voice" });
  await assert.rejects(done, { message: "The voice is unknown.", code: "voice_not_found" });
});

test("a lost connection is an error that says what to do", async (t) => {
  const { socket, done } = begin(t);
  socket.onclose();
  await assert.rejects(done, /connection was closed. Press Speak/);
});

test("the key is sent in a subprotocol, whatever its characters", () => {
  globalThis.WebSocket = class {
    constructor(url, protocols) {
      Object.assign(this, { url: String(url), protocols });
    }
  };
  const socket = connect("sk-ö/+=?", { href: "https://example.com/tts/" });
  assert.equal(socket.url, "wss://example.com/tts/v1/audio/speech/stream");
  const [name, key] = socket.protocols;
  assert.equal(name, "speech");
  assert.equal(Buffer.from(key.replace("bearer.base64url.", ""), "base64url").toString(), "sk-ö/+=?");
  assert.deepEqual(connect("", { href: "http://localhost:8101/" }).protocols, ["speech"]);
});
