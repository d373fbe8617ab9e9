"""The mixture-of-experts layer: routing, dispatch, balance losses."""
