"""The rendezvous and relay, both ends: where two sides meet, and what carries their sealed bytes."""
