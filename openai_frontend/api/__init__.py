"""The HTTP API: routes, request bodies, replies, authentication and rate limits."""
