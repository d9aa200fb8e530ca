"""The network quality estimator: Chromium's, ported, and made right for uploads. Pure: no I/O."""
