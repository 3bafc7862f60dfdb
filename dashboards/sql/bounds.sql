-- The first minute of which anything is known (1970 if nothing is), and the store's clock.
SELECT min(minute) AS first_minute, now() AS now FROM v_minutes
