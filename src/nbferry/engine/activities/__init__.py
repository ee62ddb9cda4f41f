"""Activities: one send, receive or upload, from its record to its result.

    activity      the base of all: commands, reports, outcome and cleaning up
    send          invites receivers, and serves each in a session
    receive       the base of incoming transfers, and a receive by code
    upload        a receive whose files a browser page lends
    joining       how a receiver obtains its keys
    record_store  saves the record, and holds the claim on it
    lent_pages    the pages that lend files, as the engine knows them

Activities run on the engine's thread, and do in worker threads what blocks.
"""
