"""Features are opened by name, and samples that lack one are counted by reason."""

import pytest

from earshot.errors import DataError
from tests.helpers.training.batch_checks import READS
from train.data.feature_readers import choose_usable, open_readers


def test_samples_without_a_feature_are_counted_by_reason(varied_toy):
    dirs, ids, _ = varied_toy
    readers = open_readers(dirs, READS)
    usable, reasons = choose_usable(ids[:3], readers)
    assert usable == ids[:3]
    assert not reasons
    with pytest.raises(DataError, match="no sample 'ghost'"):
        choose_usable(["ghost"], readers)


def test_a_feature_that_is_not_cached_is_refused(varied_toy):
    dirs, _, _ = varied_toy
    with pytest.raises(DataError, match="reads depth, which is not cached"):
        open_readers(dirs, ("depth",))
