-- No parameters are taken here; the number comes as text.
CHANGE REPLICATION SOURCE TO SOURCE_DELAY = {seconds}
