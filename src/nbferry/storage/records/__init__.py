"""What is written down of transfers: unfinished, claimed, ended, received."""
