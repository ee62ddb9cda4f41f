"""The command ``nbferry``.

    main     the subcommands and their exit codes
    options  the options that they share, and the types of their values
    screens  what is printed about a transfer: text, JSON, or only the code
    doctor   checks which paths work on this machine

Other wings are imported where a command needs them, so that ``--help`` and ``--version`` stay quick.
"""
