"""Devices and targets."""

from ._catalogue import KINDS, Device, device, devices, parse_catalogue
from ._target import PRECISIONS, Target

__all__ = ["KINDS", "PRECISIONS", "Device", "Target", "device", "devices", "parse_catalogue"]
