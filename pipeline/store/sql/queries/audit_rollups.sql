-- The materialised views of this database that keep sums: what each sums, and where. Those made from
-- other sums come last, so that a difference is first told where it began.
SELECT name, sums, target
FROM
(
    SELECT name, as_select AS sums, extract(create_table_query, ' TO \\S+?\\.`?(\\w+)`?') AS target
    FROM system.tables
    WHERE database = currentDatabase() AND engine = 'MaterializedView'
) AS views
WHERE target IN (SELECT name FROM system.tables WHERE database = currentDatabase() AND match(engine, 'Summing|Aggregating'))
ORDER BY position(sums, 'calls_per_minute') > 0, name
