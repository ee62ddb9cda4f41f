"""The folder sink: one transfer's data on their way into a destination folder.

sink            the port's implementation: checks chunks, translates errors
destination     a destination across runs: recovery, receipt, removal
staged_offer    an offer while it arrives; the order of all durable steps
staging         the staging folder ``.nbferry/<transfer>/data``
staged_files    the files being written in it
stored_chunks   which chunks are stored, and which are durable
journal         the record of durable chunks, which survives a crash
manifest_file   the offer's manifest in the staging folder
recovery_scan   compares staged data with the journal after a restart
candidates      unverified bytes that may be reused: staged data, older copies
publish         renames from the staging folder to the destination
layout          which folder each entry lies in, which chunks each file has
"""
