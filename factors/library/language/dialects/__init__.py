"""Formulas as other systems write them: translated into the language of this library on the way in."""

from __future__ import annotations

from factors.library.language.dialects.translation import DIALECTS, Translation, translate

__all__ = ["DIALECTS", "Translation", "translate"]
