"""The card in a notebook, and what a page and a kernel say to each other.

A *card* shows one send, receive, upload (files of the browser's machine into the kernel's folder) or download (files
of the kernel onto the browser's machine). The engine in the kernel does everything. The *page*, the browser page that
shows the notebook, draws the *view*, passes on what a person wants, and lends the files that a person picked. Nothing
else lives in it, so that a second page, or none, makes no difference.

Carriers
    comm    custom messages of the widget. Always there; but a kernel may not read it while a cell runs, and a server
            drops what a kernel says while a cell prints a lot.
    line    a WebSocket through the Jupyter server's extension, ``{base}nbferry/page/{name}``, for users of that server
            only; the name is the widget's id, in the synced trait ``_line``. It works whatever the kernel does, and
            is fast. Not there without the extension, or where the page comes from elsewhere (VS Code, Colab, marimo).

A message is a JSON object and at most one buffer. How it looks on a line is in :mod:`nbferry.widget.framing`, and what
the server puts in front of it for the kernel in :mod:`nbferry.jupyter.lines`. On a comm a buffer has at most 512 KiB,
as a server cuts its WebSocket at 10 MiB.

Requests, in both directions
    {"id": n, "op": ..., ...}          answered by {"re": n, "ok": {...}} or {"re": n, "error": {code, message, hint}}
    {"re": n, "part": k, "parts": m}   with a buffer: a bulk answer in parts; the last one has "ok" too

Whoever has asked and hears nothing for 2, 4, 8, 16, 16 ... seconds says the same again, or at once over the other
carrier when the one that was used is lost. The kernel keeps the last answers of each page and repeats them, so that
nothing is done twice; no id of its own is used twice, whatever pages come and go. Everything from a page has ``page``,
16 hex digits that it chose; so has what goes to one only.

    from a page    hello look bye code pause resume cancel accept reject rows list send receive offer files fetch
    from a kernel  read digest; and "view", which is not answered: on the comm it is the synced trait

What they mean is said in :mod:`nbferry.widget.requests`, :mod:`nbferry.widget.offers`, :mod:`nbferry.widget.saving` and
:mod:`nbferry.widget.reader`; the view in :mod:`nbferry.widget.view`. It never holds a secret, as notebooks are saved
with it.
"""
