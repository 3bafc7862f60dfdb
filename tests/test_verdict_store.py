"""The tables and views of verdicts, against the real engine."""

VERDICTS = {
    "at", "workload", "candidate", "provider", "model", "epoch", "verdict", "since", "reason_en",
    "reason_zh", "stage", "share", "units_baseline", "units_candidate", "late_calls", "plan_hash", "gates",
}  # fmt: skip
HISTORY = {"at", "workload", "candidate", "provider", "verdict", "reason_en", "reason_zh"}
EVIDENCE = {
    "at", "workload", "candidate", "gate", "log_e_promote", "log_e_rollback", "estimate", "lower", "upper",
}  # fmt: skip


def test_the_views_have_the_columns_pages_and_report_rely_on(store) -> None:
    for view, wanted in (
        ("v_verdicts", VERDICTS),
        ("v_verdict_history", HISTORY),
        ("v_evidence", EVIDENCE),
    ):
        columns = {row[0] for row in store.query(f"DESCRIBE {view}").result_rows}
        assert wanted <= columns, view
