"""The relay's rates for each address."""

from __future__ import annotations

import pytest

from nbferry.relay.rates import Rates, network_of


class TestRates:
    @pytest.mark.parametrize(
        ("address", "network"),
        [
            ("192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("fe80::1%eth0", "fe80::/64"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("", ""),
            ("/run/relay.sock", "/run/relay.sock"),
        ],
    )
    def test_network(self, address: str, network: str) -> None:
        """An IPv6 /64 network shares one rate; an IPv4 address has one rate however it is written."""
        assert network_of(address) == network

    def test_refill(self) -> None:
        """Tokens refill steadily, up to a minute's worth."""
        rates = Rates(60, 10)
        assert [rates.take("a", 0.0) for _ in range(61)] == [0.0] * 60 + [1.0]
        assert rates.take("a", 1.0) == 0.0
        assert rates.take("a", 1.5) == 0.5
        assert [rates.take("a", 1000.0) for _ in range(61)][-1] == 1.0

    def test_bounded(self) -> None:
        """Beyond its limit of addresses, the rate forgets the one that was quiet longest."""
        rates = Rates(1, 2)
        for address in ("a", "b", "a", "c"):
            rates.take(address, 0.0)
        assert rates.take("a", 0.0) > 0
        assert rates.take("b", 0.0) == 0.0
