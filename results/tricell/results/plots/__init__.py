"""Single figures of a run for papers: PNG, SVG or PDF at the width of one column or two.

::

    from tricell.results.plots.plotting import Order, write_plot

    write_plot(Path("week.h5"), Order("prices"), Path("prices.pdf"))

`tricell.results.plots.plotting` lists the kinds; what they show has the numbers and colours of the
report, see `tricell.results.report`.
"""
