"""A real tritonserver and the frontend on one machine, without Docker: `make serve`, and what the tests run against."""
