"""The error of every runtime."""


class UnsupportedNetworkError(ValueError):
    """The runtime cannot run the network; the message names the operator."""
