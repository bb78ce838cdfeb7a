"""The link over TCP, the default: it needs nothing but a network between the nodes, and the standard library.

Any node may go at any time, and costs nobody else anything. So may the head: its nodes find the next one by themselves.
"""

from hpcharvest.jumbo.links.address import of_head
from hpcharvest.jumbo.links.channel import Limits
from hpcharvest.jumbo.links.socket_head import SocketHead
from hpcharvest.jumbo.links.socket_node import SocketNode

__all__ = ["Limits", "SocketHead", "SocketNode", "of_head"]
