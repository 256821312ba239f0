"""What must be in the environment before anything here imports Ray."""

import os

from recray.serving.environment import prepare

prepare(os.environ)
