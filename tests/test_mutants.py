"""The list of mutants fits the code: each text occurs once, and each named test exists."""

from benchmarks.mutants import read_mutants
from tests.helpers.paths import ROOT


def test_each_mutant_fits_its_file_and_names_a_test():
    mutants = read_mutants([])
    assert len(mutants) > 80
    for mutant in mutants:
        assert (ROOT / mutant.path).read_text().count(mutant.old) == 1, mutant
        assert mutant.new != mutant.old, mutant
        assert (ROOT / mutant.test.partition("::")[0]).exists(), mutant
