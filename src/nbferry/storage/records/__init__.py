"""Records: what outlives a process, as files in a state folder.

record       what is needed to resume a transfer, as JSON
record_mac   a MAC, so that nbferry obeys no record from an archive
ledger       all records of a state folder: unfinished and ended transfers
claim        which process runs a transfer
receipts     what a receiver keeps of a finished transfer, to verify files later
"""
