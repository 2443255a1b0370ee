"""What may be asked of a space."""

import json
from collections.abc import Mapping
from typing import Any, Final, cast

from raworc.domain.text import storable
from raworc.errors import BadRequest, FieldError

MAX_SETTINGS_CHARACTERS: Final = 65_536


def check_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``settings`` as they are stored. They are the user's own: what means nothing here is kept and shown.

    Raises:
        BadRequest: more than 65,536 characters as JSON.
    """
    kept = cast("dict[str, Any]", storable(dict(settings)))
    if len(json.dumps(kept, ensure_ascii=False)) > MAX_SETTINGS_CHARACTERS:
        reason = f"may have {MAX_SETTINGS_CHARACTERS} characters as JSON at most"
        raise BadRequest(f"'settings' {reason}", details=(FieldError("settings", reason),))
    return kept
