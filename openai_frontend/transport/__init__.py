"""HTTP/1.1 connections: limits, deadlines and uvicorn's protocol class."""
