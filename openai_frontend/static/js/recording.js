// A user's recording as a track, to play before it is sent.

import { Problem } from "./problem.js";
import { RATE_HZ } from "./pcm.js";
import { Track } from "./track.js";

const MAX_BYTES = 32 * 2 ** 20; // a larger file would need too much memory when decoded

/** Throws Problem if the browser cannot decode it; the server may support it. */
export async function recordingOf(blob, title) {
  if (blob.size > MAX_BYTES) throw new Problem("The file is too large to be played here.", { retry: false });
  let audio;
  try {
    audio = await new OfflineAudioContext(1, 1, RATE_HZ).decodeAudioData(await blob.arrayBuffer());
  } catch {
    throw new Problem("This browser cannot play the file. The server may still be able to read it.", { retry: false });
  }
  const track = new Track({ text: title, title });
  track.push(toPcm(audio.getChannelData(0)));
  track.end();
  return track;
}

/** Samples, -1 to 1, as s16le. */
export function toPcm(samples) {
  const view = new DataView(new ArrayBuffer(2 * samples.length));
  samples.forEach((sample, i) =>
    view.setInt16(2 * i, Math.max(-32768, Math.min(32767, Math.round(sample * 32768))), true),
  );
  return new Uint8Array(view.buffer);
}
