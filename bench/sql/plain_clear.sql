TRUNCATE TABLE plain.object;
TRUNCATE TABLE plain.assoc;
TRUNCATE TABLE plain.assoc_count;
