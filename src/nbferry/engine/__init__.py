"""The engine: runs all transfers of a process on one thread.

    engine       starts activities from records, takes commands, answers queries
    messages     everything that crosses between handles and the engine
    client       the way to the engine for the other threads
    portal       the engine's thread and event loop
    activities/  one send, receive or upload, from its record to its result
    sessions/    one receiver or sender: a protocol machine over links that come and go
    slots        limits how many transfers move data at once, and queues the others
    threads      worker threads of one activity
    rate         transfer rate and time left

``messages`` is the narrow waist: it is all that handles and the engine know of each other. Its messages are plain,
frozen and can be pickled, so that the engine can run in another process.
"""
