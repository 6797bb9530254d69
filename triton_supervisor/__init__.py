"""Keeps a tritonserver working: finds what Triton itself never notices, ends it, and starts the server again.

Standard library only; Linux, since it reads /proc.
"""
