"""``python -m nbferry`` is the command ``nbferry``."""

from nbferry.cli.main import main

if __name__ == "__main__":
    main()
