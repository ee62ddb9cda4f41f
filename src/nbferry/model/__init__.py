"""The vocabulary: values that every other wing speaks of. Standard library only, no I/O."""
