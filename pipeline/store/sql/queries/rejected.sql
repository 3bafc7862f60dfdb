-- Rejected records that were not sent again yet, oldest first; after is the place the last page ended at.
SELECT cluster, topic, kafka_partition, kafka_offset, position, received_at, reason, detail, value
FROM rejected
WHERE inserted_at >= {since:DateTime64(3, 'UTC')} AND inserted_at < {until:DateTime64(3, 'UTC')}
    AND ({reason:String} = '' OR reason = {reason:String})
    AND (received_at, cluster, topic, kafka_partition, kafka_offset, position) > (
        {received_at:DateTime64(3, 'UTC')}, {cluster:String}, {topic:String},
        {kafka_partition:UInt32}, {kafka_offset:UInt64}, {position:Int64})
    AND (cluster, topic, kafka_partition, kafka_offset, position) NOT IN
        (SELECT cluster, topic, kafka_partition, kafka_offset, position FROM retries)
ORDER BY received_at, cluster, topic, kafka_partition, kafka_offset, position
LIMIT {limit:UInt32}
