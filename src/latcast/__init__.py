"""latcast forecasts how long a neural network takes on a device."""

__version__ = "0.1.0"
