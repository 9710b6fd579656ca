"""Clocks, fakes and contract suites for tests of stage4 and of plug-ins; the product never imports this."""
