// The page's settings: stored in the browser, encoded in a link, converted to a request.

const KEY = "speech-settings";
const DEFAULTS = { text: "", voice: "", instructions: "", language: "auto", speed: 1, model: "", seed: "" };
export const MAX_LINK_CHARS = 4_000;

/** Valid settings from untrusted values. */
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
    // Storage is full or forbidden: the page works without it.
  }
}

export function forget(storage = localStorage) {
  storage.removeItem(KEY);
}

/** The fragment of a link that restores the settings; fragments are never sent to a server. A long text is omitted. */
export function toFragment(settings) {
  const changed = Object.entries(settings).filter(([name, value]) => value !== DEFAULTS[name] && value !== "");
  const fits = changed.filter(([name, value]) => name !== "text" || value.length <= MAX_LINK_CHARS);
  return `#${new URLSearchParams(fits)}`;
}

/** The settings of a fragment merged into others; null without a fragment. */
export function fromFragment(fragment, settings) {
  const values = Object.fromEntries(new URLSearchParams(fragment.slice(1)));
  if (!Object.keys(values).some((name) => name in DEFAULTS)) return null;
  return clean({ ...DEFAULTS, text: settings.text, ...values });
}

/** The speech request for the settings. */
export function toBody({ text, voice, instructions, language, speed, model, seed }) {
  const body = { model: model || "tts-1", voice, input: text };
  if (instructions.trim()) body.instructions = instructions.trim();
  if (language !== "auto") body.language = language;
  if (speed !== 1) body.speed = speed;
  if (seed) body.seed = Number(seed);
  return body;
}
