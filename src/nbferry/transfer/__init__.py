"""What a caller holds: from arguments to a transfer, new or resumed."""
