"""Where a sender's chunks come from: files here, or files that a browser page lends."""
