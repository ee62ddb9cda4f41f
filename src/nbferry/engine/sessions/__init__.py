"""One machine over one link after the other, and the storage's part of it."""
