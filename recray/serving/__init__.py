"""[Ray Serve] The application: HTTP in front of `recommend`, with each part in this process or behind a deployment's handle."""
