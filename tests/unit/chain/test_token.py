"""Token, ServiceRegistry and Controller: small contracts, each with one promise."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from evm import Evm, Reverted
from onchain import NOBODY, Onchain, keccak256, refusal


@pytest.fixture(scope="module")
def deployed(evm: Evm) -> Onchain:
    return Onchain(evm)


@pytest.fixture
def chain(deployed: Onchain) -> Iterator[Onchain]:
    with deployed.evm.undone():
        yield deployed


def test_only_the_one_minter_mints_and_stays_it(chain: Onchain) -> None:
    minter, holder = chain.people[:2]
    token = chain.deploy("Token")
    assert refusal(token, "mint", holder.address, 1) == "caller is not the minter"
    assert refusal(token, "setMinter", minter.address, sender=minter) == "caller is not the deployer"
    assert refusal(token, "setMinter", NOBODY) == "minter is null address"
    assert token.send("setMinter", minter.address).events[0].args == {"minter": minter.address}
    assert refusal(token, "setMinter", chain.owner.address) == "minter is already set"
    assert refusal(token, "mint", NOBODY, 1, sender=minter) == "receiver is null address"
    sent = token.send("mint", holder.address, 9, sender=minter)
    assert sent.events[0].args == {"sender": NOBODY, "receiver": holder.address, "value": 9}
    assert (token.call("totalSupply"), token.call("balanceOf", holder.address)) == (9, 9)
    with pytest.raises(Reverted):
        token.send("mint", holder.address, 2**256 - 9, sender=minter)


def test_tokens_move_as_their_holder_says(chain: Onchain) -> None:
    ann, ben, cleo = chain.people[:3]
    token = chain.token
    token.send("mint", ann.address, 10)
    assert [token.call(name) for name in ("name", "symbol", "decimals")] == ["Shoal", "SHOAL", 18]
    assert refusal(token, "transfer", ben.address, 11, sender=ann) == "insufficient balance"
    assert refusal(token, "transfer", NOBODY, 1, sender=ann) == "receiver is null address"
    sent = token.send("transfer", ben.address, 4, sender=ann)
    assert sent.events[0].args == {"sender": ann.address, "receiver": ben.address, "value": 4}
    token.send("transfer", ben.address, 4, sender=ben)
    assert token.call("balanceOf", ben.address) == 4

    assert (
        refusal(token, "transferFrom", ann.address, cleo.address, 1, sender=ben) == "insufficient allowance"
    )
    token.send("approve", ben.address, 5, sender=ann)
    token.send("transferFrom", ann.address, cleo.address, 2, sender=ben)
    assert token.call("allowance", ann.address, ben.address) == 3
    token.send("approve", ben.address, 2**256 - 1, sender=ann)
    token.send("transferFrom", ann.address, cleo.address, 2, sender=ben)
    assert token.call("allowance", ann.address, ben.address) == 2**256 - 1
    assert refusal(token, "transferFrom", ann.address, cleo.address, 3, sender=ben) == "insufficient balance"
    assert token.call("balanceOf", cleo.address) == 4


def test_a_node_says_where_it_is(chain: Onchain) -> None:
    ann, ben = chain.people[:2]
    for uri in ("https://[::1]:8935", "", "ü" * 512):
        sent = chain.registry.send("setServiceURI", uri, sender=ann)
        assert sent.events[0].args == {"addr": ann.address, "serviceURI": uri}
        assert chain.registry.call("getServiceURI", ann.address) == uri
    assert chain.registry.call("getServiceURI", ben.address) == ""
    with pytest.raises(Reverted):
        chain.registry.send("setServiceURI", "x" * 1_025, sender=ann)
    assert chain.registry.call("controller") == chain.controller.address


def test_a_contract_is_named_once(chain: Onchain) -> None:
    name = keccak256(b"RoundsManager")
    args = (name, chain.rounds.address, b"\7" * 20)
    outsider = "Ownable: caller is not the owner"
    assert refusal(chain.controller, "setContractInfo", *args, sender=chain.people[0]) == outsider
    assert (
        refusal(chain.controller, "setContractInfo", name, NOBODY, b"\7" * 20) == "contract is null address"
    )
    sent = chain.controller.send("setContractInfo", *args)
    assert list(sent.events[0].args.values()) == list(args)
    assert chain.controller.call("getContract", name) == chain.rounds.address
    assert chain.controller.call("getContractInfo", name) == (chain.rounds.address, b"\7" * 20)
    other = (name, chain.token.address, b"\7" * 20)
    assert refusal(chain.controller, "setContractInfo", *other) == "contract is already named"
    assert chain.controller.call("getContract", keccak256(b"Minter")) == NOBODY
    assert chain.controller.call("paused") is False


def test_an_owner_can_hand_over_or_leave_for_good(chain: Onchain) -> None:
    ann = chain.people[0]
    outsider = "Ownable: caller is not the owner"
    assert chain.controller.call("owner") == chain.owner.address
    assert refusal(chain.controller, "transferOwnership", ann.address, sender=ann) == outsider
    sent = chain.controller.send("transferOwnership", ann.address)
    assert sent.events[0].args == {"previousOwner": chain.owner.address, "newOwner": ann.address}
    assert refusal(chain.controller, "transferOwnership", ann.address) == outsider
    chain.controller.send("transferOwnership", NOBODY, sender=ann)
    assert (
        refusal(chain.controller, "setContractInfo", bytes(32), ann.address, bytes(20), sender=ann)
        == outsider
    )
