"""Contracts: what a correct implementation does, as tests to inherit.

A plugin's own tests subclass the contract of what it implements, in a class whose name starts with `Test`; pytest does
the rest. Needs the extra `drystone-core[testing]`.
"""

from drystone.testing.materializers import MaterializerContract as MaterializerContract

__all__ = ["MaterializerContract"]
