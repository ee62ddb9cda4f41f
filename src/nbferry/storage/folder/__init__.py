"""One transfer's data on their way into a folder."""
