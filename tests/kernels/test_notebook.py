"""A real kernel of a real Jupyter server finds its notebook's folder, even after a move."""

from __future__ import annotations

from jupyter_client import BlockingKernelClient

from cells import Kernel, Server

FOLDER = "print(state_folder(dict(os.environ, NBFERRY_STATE='')))"


def test_a_notebook_that_is_moved(server: Server) -> None:
    """State lies beside the notebook, not in the kernel's folder, and stays there when the notebook moves."""
    for name in ("here", "there"):
        server.ask("PUT", f"api/contents/{name}", {"type": "directory"})
    notebook = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    server.ask("PUT", "api/contents/here/a.ipynb", {"type": "notebook", "content": notebook})
    asked = {"path": "here/a.ipynb", "name": "a.ipynb", "type": "notebook", "kernel": {"name": "python3"}}
    session = server.ask("POST", "api/sessions", asked)
    kernel = kernel_of(server, session["kernel"]["id"])
    kernel.run("import os; from nbferry.jupyter.state_folder import state_folder")
    assert kernel.run(FOLDER) == str(kernel.folder / "here/.nbferry")
    kernel.run("os.chdir('/')")
    assert kernel.run(FOLDER) == str(kernel.folder / "here/.nbferry")
    server.ask("PATCH", "api/contents/here/a.ipynb", {"path": "there/b.ipynb"})
    server.ask("PATCH", f"api/sessions/{session['id']}", {"path": "there/b.ipynb", "name": "b.ipynb"})
    assert kernel.run(FOLDER) == str(kernel.folder / "there/.nbferry")
    assert not (kernel.folder / "there/.nbferry").exists()


def kernel_of(server: Server, name: str) -> Kernel:
    """Connect to a kernel that the server has started for a notebook."""
    client = BlockingKernelClient(connection_file=str(server._root / f"runtime/kernel-{name}.json"))
    client.load_connection_file()
    server._kernels.append(Kernel(client, server._root))
    return server._kernels[-1]
