-- What the producers of one cluster last said.
SELECT sum(produced) AS produced, sum(waiting) AS waiting
FROM producers FINAL
WHERE cluster = {cluster:String}
