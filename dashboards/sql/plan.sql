-- The plan in force, as JSON; no row when there is none.
SELECT document FROM v_plan
