"""Live pipes of messages behind one port."""
