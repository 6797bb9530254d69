"""Qwen3-TTS in PyTorch: continuous batching, CUDA graphs and an incremental codec."""

import os

# On a CPU, large tensors are allocated and freed with every chunk. With huge pages, the codec takes a tenth less time;
# torch reads this at its first allocation.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
