"""Errors that end a run; the messages are for users."""


class InputError(Exception):
    """An input file that cannot be read, or has nothing to synthesize."""


class UnreachableError(Exception):
    """Triton, the server or a model is unreachable; finished work is kept."""


class RefusedError(Exception):
    """The server rejects a voice, a model or a language."""
