-- Exchange rates to both report currencies for each day a rate became valid.
CREATE OR REPLACE VIEW v_fx AS
SELECT from_currency, to_currency, valid_from, rate, estimated
FROM fx_rates FINAL
