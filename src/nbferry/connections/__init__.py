"""How two sides find each other and get links: codes and keys, calls, paths, and which of them is used."""
