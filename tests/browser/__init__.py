"""The cards in a real browser, with real kernels of a real JupyterLab."""
