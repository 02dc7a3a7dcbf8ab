"""The web console: server-made pages (Jinja2), moved by htmx, charts by uPlot; everything it needs is in `static/`.

Guaranteed: no request leaves for another host, no script or style stands in a page (the content security policy forbids both), every page
works without scripts (they only save reloading), and no page knows a query: what it shows comes from one function a noun.
"""
