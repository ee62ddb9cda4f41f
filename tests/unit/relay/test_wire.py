"""The relay's control messages as bytes."""

from __future__ import annotations

import pytest

from nbferry.relay.wire import REFUSALS, Refusal, parse


class TestWire:
    def test_every_refusal_is_a_sentence(self) -> None:
        """Each code has one sentence for people."""
        for code, sentence in REFUSALS.items():
            fields = Refusal(code, retry_after=3).fields()
            assert fields == {"type": "error", "code": code, "message": sentence, "retry_after": 3}
            assert sentence.endswith(".")

    def test_size(self) -> None:
        """A control message is limited in bytes; text counts as UTF-8."""
        message = '{"type":"é"}'
        assert parse(message, 13).size == 13
        with pytest.raises(Refusal):
            parse(message, 12)
