-- A ClickHouse user for the pages who can read the views and nothing else: the views run with their maker's
-- rights, so no right to a table is needed. Run it as an administrator with a password of your own, then set
-- CUTOVER_DASHBOARD_CLICKHOUSE_USER=cutover_reader and CUTOVER_DASHBOARD_CLICKHOUSE_PASSWORD for the dashboard.
-- (The v_* of a grant needs ClickHouse 24.10 or newer; with another database's name, write it for cutover.)
CREATE USER IF NOT EXISTS cutover_reader IDENTIFIED WITH sha256_password BY 'CHANGE ME' SETTINGS readonly = 2;
GRANT SELECT ON cutover.v_* TO cutover_reader;
