// What is set on the page: kept in the browser, put into a link, made into a request.

const KEY = "speech-settings";
const DEFAULTS = { text: "", voice: "", instructions: "", language: "auto", speed: 1, model: "", seed: "" };
export const MAX_LINK_CHARS = 4_000;

/** Values of the right kinds, whatever they were read from. */
export function clean(values) {
  const settings = { ...DEFAULTS };
  for (const [name, fallback] of Object.entries(DEFAULTS)) {
    const value = values?.[name];
    if (typeof fallback === "number") settings[name] = Number(value) || fallback;
    else if (typeof value === "string" || typeof value === "number") settings[name] = String(value);
  }
  settings.speed = Math.min(4, Math.max(0.25, settings.speed));
  if (!/^\d{1,15}$/.test(settings.seed)) settings.seed = "";
  return settings;
}

export function load(storage = localStorage) {
  try {
    return clean(JSON.parse(storage.getItem(KEY) ?? "{}"));
  } catch {
    return clean({});
  }
}

export function store(settings, storage = localStorage) {
  try {
    storage.setItem(KEY, JSON.stringify(settings));
  } catch {
    // A full or forbidden storage: the page works on without.
  }
}

export function forget(storage = localStorage) {
  storage.removeItem(KEY);
}

/** The fragment of a link that restores the settings; a fragment is never sent to a server. A long text is left out. */
export function toFragment(settings) {
  const changed = Object.entries(settings).filter(([name, value]) => value !== DEFAULTS[name] && value !== "");
  const fits = changed.filter(([name, value]) => name !== "text" || value.length <= MAX_LINK_CHARS);
  return `#${new URLSearchParams(fits)}`;
}

/** The settings of a fragment on top of others; null where there is none. */
export function fromFragment(fragment, settings) {
  const values = Object.fromEntries(new URLSearchParams(fragment.slice(1)));
  if (!Object.keys(values).some((name) => name in DEFAULTS)) return null;
  return clean({ ...DEFAULTS, text: settings.text, ...values });
}

/** The speech request that they describe. */
export function toBody({ text, voice, instructions, language, speed, model, seed }) {
  const body = { model: model || "tts-1", voice, input: text };
  if (instructions.trim()) body.instructions = instructions.trim();
  if (language !== "auto") body.language = language;
  if (speed !== 1) body.speed = speed;
  if (seed) body.seed = Number(seed);
  return body;
}
