"""Parts of the batch client: documents and rows, the plan of a run, its synthesis, and the files that come of it."""
