"""An extension of Google's Model Explorer: ``--extensions=latcast.search.interop.model_explorer``.

Model Explorer imports its ``main``, which needs the package ``ai-edge-model-explorer``.
"""
