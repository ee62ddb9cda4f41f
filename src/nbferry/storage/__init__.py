"""Storage: where chunks come from, where they go, and what is kept between two runs.

    base        the ports Source and Sink, with their obligations
    memory      both ports without a disk, for tests
    sources/    Source: files of this computer, or files that a browser page lends
    folder/     Sink: a destination folder, its staging folder and its journal
    records/    what outlives a process: unfinished transfers, claims, receipts
    disk/       what stands between storage and the operating system

All calls block. The engine makes them in worker threads.
"""
