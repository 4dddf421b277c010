"""A short run of tests/chaos (make chaos), and the check of its oracle: it must find what is wrong."""
import copy
import functools
import random
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

from lib import BIN, ROOT

sys.path.insert(0, str(ROOT / "tests" / "chaos"))

import failpoints  # noqa: E402
import oracle  # noqa: E402
from cluster import Cluster  # noqa: E402
from lib import System, wait_until  # noqa: E402
from rows import fleet, write_csv  # noqa: E402
