"""ClickHouse: connect, migrate, insert, ledger. The only place that imports clickhouse_connect."""
