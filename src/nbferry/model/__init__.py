"""The vocabulary: plain values that all other wings use.

    manifest     an offer: its entries, and their division into chunks
    ranges       a set of numbers stored as ranges: which chunks are verified, which are durable
    names        rules for the names that a peer sends, and how names are shown
    codes        the code or ticket by which a receiver finds a sender
    words        the words of codes
    paths        the paths that a transfer can take
    roles        send, receive, upload
    overwrite    what to do about existing files
    ice_servers  STUN and TURN servers

The wing uses the standard library only, and does no I/O.
"""
