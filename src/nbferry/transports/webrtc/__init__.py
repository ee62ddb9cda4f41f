"""WebRTC data channels."""
