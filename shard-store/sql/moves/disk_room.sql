-- Room on the file system of the data, where the plugin DISKS is loaded (MariaDB), which counts in KiB.
SELECT CAST(d.available AS UNSIGNED) * 1024, d.path FROM information_schema.disks d
WHERE LOCATE(CONCAT(TRIM(TRAILING '/' FROM d.path), '/'), @@GLOBAL.datadir) = 1 ORDER BY OCTET_LENGTH(d.path) DESC LIMIT 1
