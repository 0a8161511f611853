"""The same records over HTTP: the service, and the client that asks it."""
