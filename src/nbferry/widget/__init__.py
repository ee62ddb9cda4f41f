"""The card in a notebook, and the protocol between the page that shows it and the kernel.

A *card* shows one send, receive, upload (files of the browser's machine into the kernel's folder) or download (files
of the kernel onto the browser's machine). The engine in the kernel does the work. A *page*, the browser page that shows
the notebook, draws the *view*, passes on a person's commands, and lends the files that a person picked. It holds
nothing else, so a card works with several pages, and with none.

Carriers
    comm    custom messages of the widget, available everywhere. But a kernel may not read them while a cell runs, and a
            server drops a kernel's messages while a cell prints a lot.
    line    a WebSocket through the Jupyter server's extension, ``{base}nbferry/page/{name}``, for users of that server
            only. The name is the widget's id, in the synced trait ``_line``. It is fast, and works while the kernel is
            busy. It needs the extension, and a page that this server serves (not VS Code, Colab or marimo).

A message is a JSON object and at most one buffer. :mod:`nbferry.widget.framing` specifies its bytes on a line, and
:mod:`nbferry.jupyter.lines` what the server adds for the kernel. On a comm a buffer has at most 512 KiB, because a
server closes its WebSocket at 10 MiB.

Requests, in both directions
    {"id": n, "op": ..., ...}          answered by {"re": n, "ok": {...}} or {"re": n, "error": {code, message, hint}}
    {"re": n, "part": k, "parts": m}   with a buffer: a bulk answer in parts; the last one has "ok" too

    from a page    hello look bye code pause resume cancel accept reject rows list send receive offer files fetch
    from a kernel  read digest; and "view", which is not answered: on the comm it is the synced trait

Without an answer for 2, 4, 8, 16, 16 ... seconds the sender of a request repeats it. If the carrier that it used is
lost, it repeats it at once over the other. The kernel keeps the last answers to each page and repeats them, so that
nothing is done twice. It never uses an id of its own twice, for any page. Each message from a page, or to one page
only, has ``page``: 16 hex digits that the page chose. A view never holds a secret, because notebooks are saved with it.

    card        the widget
    card_model  what the card shows, the pages that show it, and the line to them
    face        the cards of all transfers of this process
    view        the fields of a view
    page        one page: its carriers, and the requests both ways
    calls       requests that are repeated and answered once, sans-I/O
    framing     a message on a line, as bytes
    line        the kernel's end of a line
    requests    the requests of pages, and what each does
    offers      lists of files that a page lends
    reader      slices of those files
    chooser     the kernel's files, for a person to choose from
    saving      slices of the kernel's files, for a page to save
    unpinned    lets a page's messages arrive while a cell runs
"""
