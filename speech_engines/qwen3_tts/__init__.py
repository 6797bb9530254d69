"""Qwen3-TTS in PyTorch."""

import os

# On a CPU, large tensors come and go with every chunk: in huge pages their first touch costs a tenth of the codec's time
# less. Read by torch at its first allocation.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
