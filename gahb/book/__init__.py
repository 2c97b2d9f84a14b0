"""The book's machinery: its chapters, running them, the ledger of claims, and the page of a re-run.

Useful in a clone of the book, with the extra `book`.
"""

import lazy_loader

from . import ledger

claims = ledger  # as chapters call it: gahb.claims

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
