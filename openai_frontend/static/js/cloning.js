// The dialog that clones a voice: record or upload, listen, save; with the speaker's consent if the server requires it.

import { Dialog, demand } from "./dialog.js";
import { at } from "./dom.js";
import { Problem } from "./problem.js";
import { CONSENT, PHRASES, TAGS } from "./phrases.js";
import { Take } from "./take.js";
import { Track } from "./track.js";

const NOTHING = "Or drop a recording of one person here, 1 to 60 seconds.";

export class Cloning {
  #page;
  #dialog = new Dialog("clone-dialog", () => this.#keep());
  #voice = new Take("clone", this.#dialog, () => this.#changed());
  #consent = new Take("consent", this.#dialog, () => (this.#consentId = null));
  #consentId = null;

  /** `page`: { api, listen(dialog, track, open), hear(blob, title), keep(voice) }. */
  constructor(page) {
    this.#page = page;
    at("consent-sentence").textContent = CONSENT;
    at("clone-language").addEventListener("change", () => this.#sentence());
    at("clone-listen").addEventListener("click", () => this.#dialog.attempt(() => this.#listen()));
    at("clone-play").addEventListener("click", () =>
      this.#dialog.attempt(() => page.hear(this.#voice.file, "Your recording")),
    );
    const drop = at("clone-drop");
    for (const type of ["dragenter", "dragover", "dragleave", "drop"]) {
      drop.addEventListener(type, (event) => {
        event.preventDefault();
        drop.classList.toggle("over", type === "dragenter" || type === "dragover");
        const [file] = event.dataTransfer.files;
        if (type === "drop" && file) this.#voice.take(file, file.name);
      });
    }
  }

  show() {
    this.#sentence();
    this.#dialog.show();
  }

  #sentence() {
    at("clone-sentence").textContent = PHRASES[at("clone-language").value] ?? PHRASES.english;
    this.#changed();
  }

  /** A microphone recording has the sentence as transcript; for a file, the user enters it. */
  #changed() {
    at("clone-play").hidden = !this.#voice.file;
    const sentences = Object.values(PHRASES);
    const isOurs = sentences.includes(at("clone-transcript").value);
    if (this.#voice.ofMicrophone) at("clone-transcript").value = at("clone-sentence").textContent;
    else if (isOurs) at("clone-transcript").value = "";
  }

  /** The fields that both routes have, with the recording as `field`. */
  async #form(field) {
    if (!this.#voice.file) {
      at("clone-record").focus();
      throw new Problem("Record the voice first, or choose a file.", { retry: false });
    }
    demand(at("clone-allowed"), "Confirm that you may use this voice.");
    const form = new FormData();
    form.set(field, this.#voice.file, this.#voice.file.name ?? "recording");
    if (at("clone-transcript").value.trim()) form.set("ref_text", at("clone-transcript").value.trim());
    if (at("clone-language").value !== "auto") form.set("language", at("clone-language").value);
    if (!at("consent").hidden) form.set("consent", await this.#consented());
    return form;
  }

  async #consented() {
    if (this.#consentId) return this.#consentId;
    if (!this.#consent.file) {
      at("consent-record").focus();
      throw new Problem("Record the speaker's consent first, or choose a file with it.", { retry: false });
    }
    const form = new FormData();
    form.set("name", at("clone-name").value.trim() || "Consent");
    form.set("language", TAGS[at("clone-language").value] ?? "en-US");
    form.set("recording", this.#consent.file, this.#consent.file.name ?? "consent");
    this.#consentId = (await this.#page.api.json("v1/audio/voice_consents", { form })).id;
    return this.#consentId;
  }

  async #listen() {
    const form = await this.#form("ref_audio");
    const text = PHRASES[at("clone-language").value] ?? PHRASES.english;
    form.set("input", text);
    const track = new Track({ text, title: at("clone-name").value.trim() || "The cloned voice" });
    await this.#asking(() => this.#page.listen(this.#dialog, track, (signal) => this.#page.api.clone(form, signal)));
  }

  async #keep() {
    const form = await this.#form("audio_sample");
    const name = demand(at("clone-name"), "Give the voice a name.");
    form.set("name", name);
    this.#dialog.say("Saving the voice …");
    const voice = await this.#asking(() => this.#page.api.json("v1/audio/voices", { form }));
    this.#voice.forget(NOTHING);
    this.#consent.forget("");
    for (const id of ["clone-name", "clone-transcript"]) at(id).value = "";
    at("clone-allowed").checked = false;
    return this.#page.keep(voice);
  }

  /** Run `work`; if the server requires the speaker's consent, ask for it. */
  async #asking(work) {
    try {
      return await work();
    } catch (error) {
      if (error.field !== "consent" || !at("consent").hidden) throw error;
      at("consent").hidden = false;
      at("consent-record").focus();
      throw new Problem("This server needs the speaker's consent. Record it above, then try again.", { retry: false });
    }
  }
}
