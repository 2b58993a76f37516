"""Rows that one statement gathers as JSON, on either database."""

# Of SQLite and of PostgreSQL.
_WORDS = (
    ("json_group_array(", "jsonb_agg("),
    ("json_array(", "jsonb_build_array("),
    ("json(", "to_jsonb("),
)


def on_postgresql(template: str) -> str:
    """The template of an expression in the words of SQLite, in those of PostgreSQL."""
    for here, there in _WORDS:
        template = template.replace(here, there)
    return template
