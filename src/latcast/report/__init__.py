"""Pages: an info record in, one HTML file out."""

from ._network_page import network_page
from ._network_record import network_record

__all__ = ["network_page", "network_record"]
