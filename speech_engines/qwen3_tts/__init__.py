"""Qwen3-TTS in PyTorch: continuous batching, CUDA graphs and an incremental codec."""

import os

# On a CPU, large tensors come and go with every chunk. In huge pages, their first touch takes a tenth
# less of the codec's time; read by torch at its first allocation.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
