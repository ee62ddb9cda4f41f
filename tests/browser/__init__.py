"""The cards in a real browser, of real kernels below a real JupyterLab."""
