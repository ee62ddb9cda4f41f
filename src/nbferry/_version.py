"""Which nbferry this is. Said here alone: the package and its build read it."""

from __future__ import annotations

__version__ = "0.1.0"

AGENT = f"nbferry/{__version__}"
"""What each side of a transfer, and a card, call this program."""
