// The official Node client: node openai_node.js BASE_URL FOLDER. Writes what it hears, prints what it sees as JSON.
import fs from "node:fs";
import path from "node:path";
import OpenAI from "openai";

const [baseURL, folder] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "unused", maxRetries: 0 });
const ask = { model: "gpt-4o-mini-tts", voice: "coral", input: "There is nothing better than a good cup of coffee." };
const seen = { formats: {} };

for (const response_format of ["mp3", "opus", "aac", "flac", "wav", "pcm"]) {
  const reply = await client.audio.speech.create({ ...ask, response_format });
  let pieces = 0;
  const file = fs.createWriteStream(path.join(folder, response_format));
  for await (const piece of reply.body) file.write(piece), pieces++;
  await new Promise((done) => file.end(done));
  seen.formats[response_format] = { type: reply.headers.get("content-type"), pieces };
}

const events = await client.audio.speech.create({ ...ask, stream_format: "sse", response_format: "pcm" });
seen.events = (await events.text()).split("\n").filter((line) => line.startsWith("data: ")).map((line) => JSON.parse(line.slice(6)).type);
const timed = { ...ask, stream_format: "sse", response_format: "pcm", timestamp_granularities: ["word", "segment"] };
const lines = (await (await client.audio.speech.create(timed)).text()).split("\n").filter((line) => line.startsWith("data: "));
const deltas = lines.map((line) => JSON.parse(line.slice(6))).filter((event) => event.type === "speech.audio.delta");
fs.writeFileSync(path.join(folder, "timed"), Buffer.concat(deltas.map((event) => Buffer.from(event.audio, "base64"))));
seen.timed = [];
for await (const event of await client.post("/audio/speech", { body: timed, stream: true })) {
  if (event.type === "speech.audio.timestamps") seen.timed.push(...(event.words ?? []).map((each) => each.word));
}
seen.models = [];
for await (const model of client.models.list()) seen.models.push(model.id);
seen.model = (await client.models.retrieve("tts-1")).id;
try {
  await client.audio.speech.create({ ...ask, model: "tts-9" });
} catch (error) {
  seen.error = { kind: error.constructor.name, status: error.status, code: error.code, param: error.param, request: error.requestID };
}
console.log(JSON.stringify(seen));
