"""Kafka-compatible broker and ClickHouse engine for one machine, without Docker."""
