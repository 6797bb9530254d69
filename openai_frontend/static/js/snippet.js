// The current request as code, without the API key.

const OPENAI = new Set(["model", "voice", "input", "instructions", "response_format", "speed"]);

/** The code of `body` for a server at `base` (without /v1). */
export const SNIPPETS = {
  curl: (body, base) => {
    const json = JSON.stringify({ ...body, response_format: "mp3" }, null, 2);
    return [
      `curl ${quoted(`${base}/v1/audio/speech`)} \\`,
      `  -H "Authorization: Bearer $OPENAI_API_KEY" \\`,
      `  -H 'Content-Type: application/json' \\`,
      `  -d ${quoted(json)} \\`,
      `  -o speech.mp3`,
    ].join("\n");
  },

  python: (body, base) => {
    const [own, extra] = split(body);
    const lines = Object.entries(own).map(([name, value]) => `    ${name}=${JSON.stringify(value)},`);
    if (extra) lines.push(`    extra_body=${JSON.stringify(extra)},`);
    return [
      "import os",
      "",
      "from openai import OpenAI",
      "",
      `client = OpenAI(base_url=${JSON.stringify(`${base}/v1`)}, api_key=os.environ.get("OPENAI_API_KEY", "unused"))`,
      "with client.audio.speech.with_streaming_response.create(",
      ...lines,
      ") as response:",
      `    response.stream_to_file("speech.mp3")`,
    ].join("\n");
  },

  javascript: (body, base) => {
    const [own, extra] = split(body);
    const lines = Object.entries({ ...own, ...extra }).map(([name, value]) => `  ${name}: ${JSON.stringify(value)},`);
    return [
      `import { writeFile } from "node:fs/promises";`,
      `import OpenAI from "openai";`,
      "",
      `const client = new OpenAI({ baseURL: ${JSON.stringify(`${base}/v1`)}, apiKey: process.env.OPENAI_API_KEY ?? "unused" });`,
      "const speech = await client.audio.speech.create({",
      ...lines,
      "});",
      `await writeFile("speech.mp3", Buffer.from(await speech.arrayBuffer()));`,
    ].join("\n");
  },
};

/** OpenAI's fields, and the others; null for none. */
function split(body) {
  const all = Object.entries({ ...body, response_format: "mp3" });
  const extra = all.filter(([name]) => !OPENAI.has(name));
  return [
    Object.fromEntries(all.filter(([name]) => OPENAI.has(name))),
    extra.length ? Object.fromEntries(extra) : null,
  ];
}

/** Text quoted for a POSIX shell. */
function quoted(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
