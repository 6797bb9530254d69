"""The path of one speech request: admission, queueing, text preparation, segments and their audio."""
