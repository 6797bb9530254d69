"""Parts of the batch client: what is to be read, work that survives a crash, and the files that come of it."""
