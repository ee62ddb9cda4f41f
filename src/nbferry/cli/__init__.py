"""The command ``nbferry``: its subcommands, what they print, and the doctor."""
