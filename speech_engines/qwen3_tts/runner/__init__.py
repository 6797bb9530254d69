"""The model runner: prefill, decode steps and codec on one device, with CUDA graphs on a GPU."""
