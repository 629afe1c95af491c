# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
"""
@title  Service registry
@notice Where a node can be reached, in its own words.
@dev    The names and the event are those of Livepeer's ServiceRegistry.
"""


event ServiceURIUpdate:
    addr: indexed(address)
    serviceURI: String[URI_BYTES_MAX]


URI_BYTES_MAX: constant(uint256) = 1024

controller: public(immutable(address))
uris: HashMap[address, String[URI_BYTES_MAX]]


@deploy
def __init__(_controller: address):
    controller = _controller


@external
def setServiceURI(service_uri: String[URI_BYTES_MAX]):
    self.uris[msg.sender] = service_uri
    log ServiceURIUpdate(addr=msg.sender, serviceURI=service_uri)


@external
@view
def getServiceURI(addr: address) -> String[URI_BYTES_MAX]:
    return self.uris[addr]
