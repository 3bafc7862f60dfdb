-- What the producers of one cluster last said.
SELECT sum(produced) AS produced, sum(waiting) AS waiting, sum(resent) AS resent, sum(dropped) AS dropped
FROM producers FINAL
WHERE cluster = {cluster:String}
