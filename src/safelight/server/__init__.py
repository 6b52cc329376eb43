"""The server: HTTP in front of the service, and the workers behind it."""
