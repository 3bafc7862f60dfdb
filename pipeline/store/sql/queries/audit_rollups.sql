-- The materialised views of this database that keep sums per minute: what each sums, and where.
SELECT
    name,
    as_select AS sums,
    extract(create_table_query, ' TO \\S+?\\.`?(\\w+)`?') AS target
FROM system.tables
WHERE database = currentDatabase() AND engine = 'MaterializedView'
ORDER BY name
