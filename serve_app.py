"""The Serve graph as `app`: `serve run serve_app:app`, or `import_path: serve_app:app` in a Serve config.

Settings come from RECRAY_SETTINGS and the other RECRAY_* variables (see recray/settings/knobs.py).
"""

from recray.cli.serve import bound

app = bound()
