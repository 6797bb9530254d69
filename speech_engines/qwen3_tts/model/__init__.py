"""The talker and the code predictor: layers, KV cache, sampling and weights."""
