"""The exhaustive model of the transactions (tests/chaos/model.py), with fewer faults than when it runs as a program."""
import sys
from concurrent.futures import ProcessPoolExecutor

import pytest

from lib import ROOT

sys.path.insert(0, str(ROOT / "tests" / "chaos"))
import model  # noqa: E402


@pytest.fixture(scope="module")
def pool():
    with ProcessPoolExecutor(2) as p:
        yield p


def told(result):
    return result.violation + "".join(f"\n{n:3}. {line}" for n, line in enumerate(result.trace, 1))


def test_ours_holds_in_every_state_and_always_comes_to_a_good_end(pool):
    for what, result in pool.map(model.check_ours, [True] * len(model.OURS), range(len(model.OURS))):
        assert not result.violation, f"{what}: {told(result)}"
        assert result.states > 200, what


def test_the_naive_scheme_and_every_mutant_of_ours_is_caught(pool):
    for what, expected, result in pool.map(model.check_mutant, range(len(model.MUTANTS))):
        assert result.trace and result.violation.startswith(expected), f"{what}: {told(result) or 'not caught'}"
