-- No parameters are taken here; the number comes as text.
CHANGE MASTER TO MASTER_DELAY = {seconds}
