// The server's voices, and their capabilities.

import { PHRASES } from "./phrases.js";

const KINDS = { audio_sample: "Cloned", prompt: "Designed" };
// Models that support `instructions`.
const OBEYS = new Set(["qwen3_tts_custom_voice", "qwen3_tts_voice_design"]);

/** The voices to show, from the server's list: each voice once, with its aliases; unavailable ones are omitted. If a
 *  server does not report aliases or availability, all are shown. */
export function voicesOf(list) {
  const voices = list.filter(({ available, same_as }) => available !== false && !same_as).map(voiceOf);
  const byId = new Map(voices.map((voice) => [voice.id, voice]));
  for (const { id, same_as } of list) if (same_as) byId.get(same_as)?.aliases.push(id);
  return voices;
}

function voiceOf({ id, name, type, gender, language, languages, description, prompt, model }) {
  const kind = KINDS[type] ?? "Built in";
  const known = {
    gender: gender ?? null,
    language: language ?? null,
    languages: languages ?? null,
    model: model ?? null,
  };
  const own = type in KINDS;
  return {
    id,
    name,
    title: own ? name : label(name),
    kind,
    own,
    description: description ?? prompt ?? "",
    aliases: [],
    ...known,
  };
}

/** The display form of a built-in name: "uncle_fu" is Uncle Fu. */
function label(name) {
  return name.split("_").map(title).join(" ");
}

/** The voices whose name, description, gender, language or kind contain every word of `query`; `filter` is all,
 *  built-in or own. */
export function search(voices, query, filter = "all") {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  return voices.filter((voice) => {
    if (filter !== "all" && voice.own !== (filter === "own")) return false;
    const { name, title, aliases, description, gender, language, kind } = voice;
    const text = [name, title, ...aliases, description, gender, language, kind].join(" ").toLowerCase();
    // "male" must not match "female".
    return words.every((word) => (word === "male" ? voice.gender === "male" : text.includes(word)));
  });
}

/** The voice of an id, a name or an alias; blends are voices, too. Undefined for none. */
export function find(voices, id) {
  const wanted = id.toLowerCase();
  const found = voices.find((voice) => voice.id === id || voice.aliases.includes(id));
  return (
    found ?? voices.find(({ name }) => name.toLowerCase() === wanted) ?? (id.includes("+") ? blended(id) : undefined)
  );
}

function blended(id) {
  const voice = voiceOf({ id, name: id, type: "audio_sample", description: "A blend of your voices" });
  const name = id.replace(/\(([\d.]+)\)/g, (_, weight) => ` ${Math.round(weight * 100)} %`).replaceAll("+", " + ");
  return { ...voice, kind: "Blend", own: false, name, title: name };
}

/** The name of a blend, such as `anna(0.7)+bob(0.3)`; `share` of the first one, 0 to 1. */
export function blend(first, second, share) {
  return `${first.name}(${Number(share.toFixed(2))})+${second.name}(${Number((1 - share).toFixed(2))})`;
}

/** The sample text of a voice, and its language. */
export function sampleOf({ language, languages }) {
  const base = language?.endsWith("_dialect") ? "chinese" : language;
  // A server that reports no languages has at least one model for English.
  const speaks = (name) => name in PHRASES && (languages ? languages.includes(name) : name === "english");
  const name = [base, "english", ...(languages ?? [])].find((each) => each && speaks(each)) ?? "english";
  return { text: PHRASES[name], language: name };
}

/** Whether a style has an effect; true if the server does not report it. */
export function takesStyle({ model, own }) {
  return model ? OBEYS.has(model) : !own;
}

/** The display form of a language. */
export function title(name) {
  const words = name.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** The languages of at least one voice; all languages if the server does not report them. */
export function spoken(voices, languages) {
  const named = languages.filter((name) => name !== "auto");
  return named.filter((name) => voices.some((voice) => !voice.languages || voice.languages.includes(name)));
}
