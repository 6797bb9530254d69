"""Texts for speech engines, knowing no server and no engine: where they may be cut, what of Markdown is read aloud."""
