"""Room 0: the words on the wire between frontend, Triton models and client scripts. Standard library only."""
