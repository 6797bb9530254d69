"""Word times of speech whose text is known, with Qwen3-ForcedAligner."""
