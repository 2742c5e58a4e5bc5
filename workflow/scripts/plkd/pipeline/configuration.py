"""What is wrong with a configuration, in words that say what to do.

Standard library only: Snakemake imports this module itself.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any


def suggestion(name: object, known: Iterable[object]) -> str:
    """Text that names what may have been meant by `name`, or all that is known.

    Examples
    --------
    >>> suggestion("label_key", ["labels_key", "batch_key", "url"])
    "did you mean 'labels_key'?"
    >>> suggestion("colour", ["labels_key", "url"])
    'possible are labels_key, url'
    """
    names = [str(one) for one in known]
    close = difflib.get_close_matches(str(name), names, n=1)
    return f"did you mean '{close[0]}'?" if close else f"possible are {', '.join(sorted(names))}"


def markup_in(content: Any) -> str | None:
    """Text in a configuration that would end the script of a web page, as the report is one.

    >>> markup_in({"datasets": [{"description": "cells of <i>mice</i></script>"}]})
    'cells of <i>mice</i></script>'
    """
    if isinstance(content, dict):
        content = [*content, *content.values()]
    if isinstance(content, list | tuple):
        return next(filter(None, map(markup_in, content)), None)
    found = isinstance(content, str) and re.search(r"</script|<!--", content, re.IGNORECASE)
    return str(content) if found else None


def violation(error: Any) -> str:
    """One line for a violation of a schema.

    Parameters
    ----------
    error
        A `jsonschema.ValidationError`.

    Returns
    -------
    str
        Where it is, what was found and what was expected; for a misspelt key or choice what may
        have been meant.
    """
    while error.context:  # of several possibilities the one that went farthest
        error = max(
            error.context, key=lambda one: (len(one.absolute_path), one.validator != "type")
        )
    place = ".".join(map(str, error.absolute_path))
    known = error.schema.get("properties", {}) if isinstance(error.schema, dict) else {}
    if error.validator == "additionalProperties" and known:
        unknown = [key for key in error.instance if key not in known]
        text = "; ".join(f"unknown key '{key}': {suggestion(key, known)}" for key in unknown)
    elif error.validator == "enum":
        choice = error.instance
        text = f"'{choice}' cannot be chosen: {suggestion(choice, error.validator_value)}"
    elif error.validator == "required":
        lacking = [key for key in error.validator_value if key not in error.instance]
        text = f"the key '{lacking[0]}' is missing" if lacking else error.message
    else:
        text = error.message
        if error.validator == "not":
            text = f"'{error.instance}' is reserved"
        elif error.validator == "pattern":
            text = f"'{error.instance}' cannot be used"
        described = _description(error)
        text += f" ({described})" if described else ""
    return f"{place}: {text}" if place else text


def _description(error: Any) -> str | None:
    """What the violated part of the schema says of itself, of a possibility what the whole does."""
    while error is not None:
        if isinstance(error.schema, dict) and "description" in error.schema:
            return str(error.schema["description"])
        error = error.parent
    return None
