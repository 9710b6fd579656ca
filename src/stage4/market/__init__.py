"""Market data: bars, feeds (synthetic, CSV replay), data quality."""

from stage4.market.bar import Bar, Feed
from stage4.market.csv_replay import CsvReplayFeed
from stage4.market.json_lines import JsonLinesFeed
from stage4.market.synthetic import SyntheticFeed

__all__ = ["Bar", "CsvReplayFeed", "Feed", "JsonLinesFeed", "SyntheticFeed"]
