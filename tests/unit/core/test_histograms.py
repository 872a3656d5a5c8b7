"""Histograms count what is observed by size."""

from math import inf

from sanic_ws.core.histograms import Histogram


def test_a_value_counts_in_its_bucket_and_all_larger_ones():
    histogram = Histogram((1, 10))
    for value in (0.5, 1, 2, 10, 11, 1000):
        histogram.observe(value)
    assert histogram.buckets == [(1, 2), (10, 4), (inf, 6)]
    assert histogram.total == 1024.5


def test_nothing_observed_is_nothing_counted():
    assert Histogram((1,)).buckets == [(1, 0), (inf, 0)]
