"""One send, receive or upload, from the call to the result."""
