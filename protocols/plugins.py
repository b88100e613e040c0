"""Finder of a family's members: the modules of a package, by name.

A member is any module or sub-package that offers the family's attribute (`FORMAT`, `ECU`,
`PROFILE`, ...). Nothing is opened and nothing registers itself: the folder is the list.
"""

import importlib
import pkgutil


def members(package: str, attribute: str) -> dict[str, object]:
    """Module name -> its `attribute`, in the order of names; modules without one are left out."""
    path = importlib.import_module(package).__path__
    found: dict[str, object] = {}
    for name in sorted(info.name for info in pkgutil.iter_modules(path)):
        member = getattr(importlib.import_module(f"{package}.{name}"), attribute, None)
        if member is not None:
            found[name] = member
    return found
