"""The functions and types of expressions over a row: those that look and do not make.

Whoever may send an expression to a server could else stop it with one: `repeat(caption, 1000000)`,
`list_sum(range(1000000000))` and `sleep_ms(1000000)` take gigabytes or minutes for one row, where
neither DuckDB's memory limit nor its interrupt reaches. What these functions return is a number, a
truth, a date, or at most about as long as what they are given. All of them answer the
same every time: a test asks DuckDB.

Types are those of one value: a cast to `INT[1000][1000][1000]` took 9 GB for one row.
"""

from __future__ import annotations

from typing import Final

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
