"""The client of Triton's HTTP API: model control, liveness, retries, speech streams. No knowledge of OpenAI's API."""
