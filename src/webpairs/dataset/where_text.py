"""The size and the depth of an expression's text, checked before DuckDB reads it.

DuckDB's parser takes time and memory that grow steeply with the depth: 5,000 open brackets, 10 KB,
took 26 s and 4.2 GB. So the depth is bounded from the tokens alone, in one pass:

    abs(width + 1) > 3 and case when nsfw = 'NSFW' then 1 else not not true end
    operators between two separators, plus those of the deepest bracket or CASE within

Separators are commas, AND, OR, WHEN, THEN and ELSE: what stands between them lies side by side in
the tree, however many there are. The bound may be higher than the depth of the tree, never lower.
"""

from __future__ import annotations

import re
from typing import Final

from webpairs.errors import ConfigError
from webpairs.quantities import counted

MAX_CHARS: Final = 100_000
"""Some thousand keys in a list."""
MAX_DEPTH: Final = 64
"""Written by hand, expressions stay below 20; orjson writes trees of 254 levels, 3 of ours each."""
_SHOWN: Final = 200
_TOKEN: Final = re.compile(
    r"""
    (?P<escaped>[eE]'(?:[^'\\]|\\.|'')*')
    |(?P<text>'(?:[^']|'')*')
    |(?P<name>"(?:[^"]|"")*")
    |(?P<comment>--[^\n]*)
    |(?P<refused>/\*|\$)
    |(?P<number>[0-9][\w.]*)
    |(?P<word>\w+)
    |(?P<open>[(\[{])
    |(?P<close>[)\]}])
    |(?P<dot>\.)
    |(?P<comma>,)
    |(?P<operator>[^\s\w'"()\[\]{},.$])
    |(?P<open_text>['"])
    """,
    re.VERBOSE | re.DOTALL,
)
_SEPARATORS: Final = frozenset(("AND", "OR", "WHEN", "THEN", "ELSE"))
_JOINING: Final = frozenset(("AND", "OR"))
"""Separators that make a node of what stands on both sides: one of ORs over one of ANDs."""
_NESTING: Final = frozenset(
    (
        *("NOT", "IS", "ISNULL", "NOTNULL", "IN", "BETWEEN", "LIKE", "ILIKE", "GLOB", "SIMILAR"),
        *("COLLATE", "AT", "ESCAPE", "LAMBDA", "INTERVAL", "DATE", "TIME", "TIMESTAMP"),
    )
)
"""Words that make a node of the tree with what stands beside them."""


def shown(text: str) -> str:
    """Return an expression as messages show it: quoted, a long one cut."""
    if len(text) <= _SHOWN:
        return repr(text)
    return f"{text[:_SHOWN]!r}... ({counted(len(text), 'character')})"


def check_size(text: str) -> None:
    """Raise ConfigError for an expression that is too long or too deep to be parsed."""
    if len(text) > MAX_CHARS:
        raise ConfigError(
            f"where {shown(text)} is too long: use at most {MAX_CHARS:,} characters, or a column "
            "file to join by"
        )
    if _depth(text) > MAX_DEPTH:
        raise ConfigError(
            f"where {shown(text)} is nested too deeply: use at most {MAX_DEPTH} brackets and "
            "operators within each other"
        )


def _depth(text: str) -> int:
    """Return a bound of the depth of an expression's tree."""
    levels = [_Level("")]
    deepest, after_dot = 0, False
    for token in _TOKEN.finditer(text):
        kind, value = token.lastgroup, token[0]
        if kind in ("refused", "open_text"):
            raise ConfigError(_NOT_READ[value].format(shown(text)))
        if kind == "comment" and "\r" in value:
            raise ConfigError(f"where {shown(text)}: a comment holds a carriage return")
        # A column or a field may be called like a keyword behind a dot.
        word = value.upper() if kind == "word" and not after_dot else ""
        after_dot = kind == "dot"
        if kind == "open" or word == "CASE":
            levels[-1].operators += 1
            levels.append(_Level(value.upper()))
        elif (kind == "close" or word == "END") and len(levels) > 1:
            if levels[-1].closed_by(value.upper()):
                inner = levels.pop()
                levels[-1].inner = max(levels[-1].inner, inner.depth)
        elif kind == "comma" or word in _SEPARATORS:
            levels[-1].separate(word)
        elif kind in ("operator", "dot") or word in _NESTING:
            levels[-1].operators += 1
        if len(levels) > MAX_DEPTH:
            return len(levels)
        deepest = max(deepest, levels[-1].depth)
    # What was not closed lies within each other, too.
    below = 0
    for level in reversed(levels):
        level.inner = max(level.inner, below)
        below = level.depth
    return max(deepest, below)


class _Level:
    """What was counted since a bracket or a CASE was opened."""

    def __init__(self, opened_by: str) -> None:
        self._opened_by = opened_by
        self._before = 0
        self._joined_by: set[str] = set()
        self.operators = 0
        """Operators since the last separator."""
        self.inner = 0
        """Depth of the deepest bracket since then."""

    @property
    def depth(self) -> int:
        """Return the depth of the deepest part so far, and of what joins the parts."""
        return self._deepest + len(self._joined_by)

    @property
    def _deepest(self) -> int:
        return max(self._before, self.operators + self.inner)

    def separate(self, word: str) -> None:
        """Begin another part."""
        self._before = self._deepest
        self.operators = self.inner = 0
        if word in _JOINING:
            self._joined_by.add(word)

    def closed_by(self, value: str) -> bool:
        """Tell whether a bracket or END closes the level."""
        return (self._opened_by == "CASE") == (value == "END")


_NOT_READ: Final = {
    "/*": "where {}: comments in /* */ are not possible here: write -- at the end of a line",
    "$": "where {}: $ is not possible here: write one expression, with values in '...'",
    "'": "where {}: a ' has no end; within a text it is written twice",
    '"': 'where {}: a " has no end; within a name it is written twice',
}


_OPERATORS: Final = """
    = != <> < <= > >= + - * / // % ^ ** @ & | << >> ~ xor !__postfix ~~ !~~ ~~* !~~* ~~~ ^@
    like_escape not_like_escape ilike_escape not_ilike_escape nullif if greatest least switch
"""
_NUMBERS: Final = """
    abs sign signbit round round_even trunc floor ceil ceiling even mod fmod fdiv divide multiply
    add subtract sqrt cbrt pow power exp ln log log2 log10 pi sin cos tan asin acos atan atan2
    degrees radians gcd lcm isnan isinf isfinite bit_count hash
"""
_TEXTS: Final = """
    length len strlen char_length character_length octet_length bit_length length_grapheme lower
    lcase upper ucase trim ltrim rtrim strip_accents nfc_normalize reverse ascii ord unicode
    substr substring left right contains starts_with ends_with prefix suffix instr strpos position
    regexp_matches regexp_full_match regexp_extract regexp_extract_all split_part string_split
    str_split split string_to_array string_split_regex str_split_regex regexp_split_to_array
    parse_filename parse_path parse_dirname hex to_hex unhex from_hex md5 sha1 sha256 encode
    decode typeof
"""
_DATES: Final = """
    year month day hour minute second quarter week weekday dayofweek dayofmonth dayofyear isodow
    isoyear yearweek weekofyear century decade millennium microsecond millisecond nanosecond epoch
    epoch_ms epoch_us epoch_ns date_part datepart date_trunc datetrunc date_diff datediff date_sub
    datesub date_add last_day dayname monthname strftime strptime try_strptime make_date make_time
    make_timestamp to_timestamp to_days to_hours to_minutes to_seconds to_weeks to_months to_years
"""
_NESTED: Final = """
    list_value list_contains list_has list_has_any list_has_all list_position list_indexof
    list_extract list_element array_extract element_at list_slice array_slice list_filter filter
    array_filter list_distinct list_unique list_sort list_reverse_sort list_intersect list_sum
    list_avg list_min list_max list_count list_first list_last list_median list_bool_and
    list_bool_or array_length array_contains array_has array_position array_has_any array_has_all
    cardinality struct_extract struct_extract_at map_keys map_values map_contains map_extract
    map_extract_value json_extract json_extract_string json_extract_path json_extract_path_text
    json_valid json_contains json_exists json_type json_array_length json_keys json_value -> ->>
"""
LOOKING: Final = frozenset("".join((_OPERATORS, _NUMBERS, _TEXTS, _DATES, _NESTED)).split())
DOUBLING: Final = frozenset(("hex", "to_hex"))
"""Of these one may not be within another."""
_TYPES: Final = """
    boolean bool logical tinyint int1 smallint int2 short integer int int4 signed bigint int8 long
    hugeint int128 utinyint uint8 usmallint uint16 uinteger uint32 ubigint uint64 uhugeint uint128
    int16 int32 int64 float float4 real double float8 decimal numeric dec varchar text string char
    bpchar blob bytea binary varbinary date time timestamp datetime timestamp_s timestamp_ms
    timestamp_us timestamp_ns timestamptz interval uuid json
"""
TYPES: Final = frozenset((*_TYPES.split(), "timestamp with time zone", "time with time zone"))
"""As DuckDB's parser spells those of one value, and as people may."""
_JSON_PATHS: Final = """
    json_extract json_extract_string json_extract_path json_extract_path_text json_exists json_type
    json_array_length json_keys json_value -> ->>
"""
JSON_PATHS: Final = frozenset(_JSON_PATHS.split())
"""Functions that take a path after the JSON. One with a wildcard (`$.*`, `$[*]`, `$..a`) makes a
list of values that is as long as the text, and a wildcard after a wildcard multiplies."""
LAMBDAS: Final = frozenset(("list_filter", "filter", "array_filter"))
