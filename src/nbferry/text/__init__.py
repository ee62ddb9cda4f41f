"""Text faces: what a terminal, a log and a notebook without widgets show of a transfer.

rendering   a snapshot as text and as static HTML; sizes, durations and titles
bar         progress bars on a terminal
log         lines for CI and for log files
live        chooses bar or log, and shows a transfer while a caller waits
"""
