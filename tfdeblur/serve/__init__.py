"""An HTTP server that restores photos: an ASGI application over a `Restorer`.

`app` answers requests, `batcher` restores images of equal size together, `counters` count for
Prometheus. `python -m tfdeblur.serve` runs it with uvicorn; `tfdeblur.demo` adds a page.
"""
