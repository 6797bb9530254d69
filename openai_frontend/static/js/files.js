// Downloads: the seven formats, and file names.

export const FORMATS = [
  { name: "mp3", title: "MP3", about: "plays everywhere" },
  { name: "wav", title: "WAV", about: "uncompressed, for editing" },
  { name: "flac", title: "FLAC", about: "lossless, half the size" },
  { name: "aac", title: "AAC", about: "for Apple devices and video" },
  { name: "opus", title: "Opus", about: "smallest" },
  { name: "ogg", title: "Ogg", about: "Opus, as messengers name it" },
  { name: "pcm", title: "PCM", about: "raw samples, 24 kHz, 16 bit" },
];

const MAX_CHARS = 48;

/** `anna-hello-it-is-me.mp3`: the voice and the start of the text, in letters and digits of any script. */
export function fileName(title, text, format) {
  const slug = `${title} ${text.slice(0, 200).replace(/\[pause:[^\]]*\]/g, " ")}`
    .normalize("NFC")
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\p{M}]+/gu, "-")
    .replace(/^-|-$/g, "");
  const cut =
    [...slug].length > MAX_CHARS
      ? [...slug]
          .slice(0, MAX_CHARS)
          .join("")
          .replace(/-[^-]*$/, "")
      : slug;
  return `${cut || "speech"}.${format}`;
}

/** Save a Blob as a file. */
export function save(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the download has begun by then
}
