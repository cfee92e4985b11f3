"""Which tokens are generations of one another, in SQL."""

from auditor.policy.lineage import LONGEST, ROTATION_SUFFIX


def name_stem(column: str, pattern: str = f"'{ROTATION_SUFFIX}'") -> str:
    """Return the SQL of ``auditor.policy.lineage.name_stem`` of a column.

    ``pattern`` is the SQL of the regular expression that finds what a rotation adds; the stem ends before it.
    """
    lower = f'lower({column} collate "C")'
    stem = f"regexp_replace({lower}, '(?:' || {pattern} || ').*$', '')"
    return f"case when length({lower}) > {LONGEST} then {lower} else coalesce(nullif({stem}, ''), {lower}) end"
