"""The wire between frontend, Triton models and client tools: requests, events, errors. Standard library only."""
