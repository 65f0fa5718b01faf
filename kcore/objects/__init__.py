"""What components know of objects: names of resources, metadata, selectors, quantities.

An object is a plain dict, as JSON has it (`Object`). Objects that come from a client are shared between all
components of the process and are **read-only**: `copy` what you want to change.
"""

from typing import Any

Object = dict[str, Any]
