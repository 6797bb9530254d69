"""The Wyoming protocol of Home Assistant: speech over TCP, also for text that is still being written."""
