"""The large programs. Importing this puts them on the list of harness/registry.py, in the order of the table."""
from . import browsers, databases, documents, languages, building, media, servers, machine  # noqa: F401
