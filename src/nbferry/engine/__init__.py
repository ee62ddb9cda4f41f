"""What runs transfers: connections, sessions and the one thread that they live on."""
