-- What a list's count was before raise_count.sql: for the change that is published.
SELECT count, version FROM assoc_count WHERE id1 = ? AND atype = ?
