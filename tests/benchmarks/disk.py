"""What a delivery takes of the disk, by table and index: 1 KiB, delivered at the first try."""

import json

from . import stage

_TABLES = "FROM pg_class t WHERE t.relkind = 'r' AND t.relname LIKE 'webhooks_app%'"
POSTGRESQL = f"""
    SELECT json_object_agg(name, size) FROM (
      SELECT t.relname AS name, pg_relation_size(t.oid) AS size {_TABLES}
      UNION ALL
      SELECT t.relname || ', TOAST', pg_total_relation_size(t.reltoastrelid) {_TABLES}
        AND t.reltoastrelid <> 0
      UNION ALL
      SELECT i.relname, pg_relation_size(i.oid)
      FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
      WHERE x.indrelid IN (SELECT t.oid {_TABLES})
    ) sizes"""
SQLITE = """
    SELECT json_group_object(name, size)
    FROM (SELECT name, sum(pgsize) AS size FROM dbstat GROUP BY name)"""


def bytes_each(server, receiver, count):
    """Of the first ones, and of as many once what died has been swept, as PostgreSQL does by itself
    from time to time; on both databases."""
    found, verdicts = {}, {}
    with stage.folder() as folder:
        for place in (server, stage.Sqlite(folder)):
            with place.database() as url:
                sizes = [_sizes(place, url)]
                for _ in range(2):
                    _deliver(place, receiver, url, count)
                    sizes.append(_sizes(place, url))
                    _sweep(place, url)
            for name, before, after in (("first", *sizes[:2]), ("then", *sizes[1:])):
                grown = {part: (size - before.get(part, 0)) / count for part, size in after.items()}
                found[f"{place.name}, {name}"] = {
                    part: round(each)
                    for part, each in sorted(grown.items(), key=_largest)
                    if each > 1
                }
                total = sum(after.values()) - sum(before.values())
                verdicts[f"{place.name}, {name}: bytes each"] = (total / count, "")
    return found, verdicts


def _largest(part):
    return -part[1]


def _deliver(place, receiver, url, count):
    stage.part("orders", receiver.url(), count, database=url)
    before = receiver.count()
    with stage.workers(1, url):
        stage.pace(receiver, before, 1, count)


def _sizes(place, url):
    with place.ask(url) as ask:
        if place.name == "SQLite":
            ask("PRAGMA wal_checkpoint(TRUNCATE)")
            return json.loads(ask(SQLITE)[0])
        ask("CHECKPOINT")
        return ask(POSTGRESQL)[0]


def _sweep(place, url):
    if place.name == "PostgreSQL":
        with place.ask(url) as ask:
            ask("VACUUM ANALYZE")
