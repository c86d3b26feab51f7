"""The languages that a recipe can name."""

from __future__ import annotations

from typing import Final

from webpairs.checks import check_one
from webpairs.errors import ConfigError

_LABELS: Final = """
af als am an ar arz as ast av az azb ba bar bcl be bg bh bn bo bpy br bs bxr ca cbk ce ceb ckb co
cs cv cy da de diq dsb dty dv el eml en eo es et eu fa fi fr frr fy ga gd gl gn gom gu gv he hi hif
hr hsb ht hu hy ia id ie ilo io is it ja jbo jv ka kk km kn ko krc ku kv kw ky la lb lez li lmo lo
lrc lt lv mai mg mhr min mk ml mn mr mrj ms mt mwl my myv mzn nah nap nds ne new nl nn no oc or os
pa pam pfl pl pms pnb ps pt qu rm ro ru rue sa sah sc scn sco sd sh si sk sl so sq sr su sv sw ta te
tg th tk tl tr tt tyv ug uk ur uz vec vep vi vls vo wa war wuu xal xmf yi yo yue zh
"""
LANGUAGES: Final = frozenset(_LABELS.split())
"""The labels of lid.176 (https://fasttext.cc/docs/en/language-identification.html)."""


def check_languages(option: str, languages: tuple[str, ...]) -> None:
    """Raise ConfigError unless these are codes of languages, or `any` alone."""
    from webpairs.recipes.languages import LANGUAGES

    if not languages:
        raise ConfigError(f"{option} is empty: use any, or codes such as en,de")
    if "any" in languages and len(languages) > 1:
        raise ConfigError(f"{option} {','.join(languages)} says any and more: use one of them")
    if languages not in (("any",), ("en",)):
        for language in languages:
            check_one(option, language, ("any", *sorted(LANGUAGES)))
