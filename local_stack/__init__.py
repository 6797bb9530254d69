"""A real tritonserver and the frontend on one machine, without Docker: used by `make serve` and by the tests."""
