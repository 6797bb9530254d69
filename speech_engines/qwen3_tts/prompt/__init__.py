"""Text and voice to the talker's prefill: tokenizer, prompt builder and voice prompts."""
