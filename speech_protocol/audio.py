"""Constants of the one audio format on the wire: PCM, signed 16-bit little-endian, mono, 24 kHz."""

from typing import Final

SAMPLE_RATE_HZ: Final = 24_000
SAMPLE_BYTES: Final = 2
# One codec frame of Qwen3-TTS: 16 codes become 1,920 samples, 80 ms.
FRAME_SAMPLES: Final = 1_920
# An audio event carries at most this many samples, so no message on the wire grows with the utterance.
MAX_CHUNK_SAMPLES: Final = SAMPLE_RATE_HZ
