"""The Wyoming protocol of Home Assistant: speech over TCP, including streaming text input."""
