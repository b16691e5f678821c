"""The page that compares runs, or two designs of a study: one HTML file that needs nothing beside.

`tricell.results.comparison` and `tricell.results.design_comparison` compute what differs; here it
becomes tables and figures, in the frame and with the look of the report of a run
(`tricell.results.report`).
"""
