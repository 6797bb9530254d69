"""A supervisor of tritonserver: detects faults that Triton itself does not, and restarts the server.

Standard library only; Linux, since it reads /proc.
"""
