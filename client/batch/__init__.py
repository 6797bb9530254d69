"""Parts of the batch client: documents and rows, the plan of a run, synthesis, and output files."""
