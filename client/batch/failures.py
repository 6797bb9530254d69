"""What ends a run before its time; the messages are for people."""


class InputError(Exception):
    """A file that cannot be read at all, or has nothing to speak."""


class UnreachableError(Exception):
    """Triton, the server or a model cannot be reached; what is done is kept."""


class RefusedError(Exception):
    """The server refuses a voice, a model or a language."""
