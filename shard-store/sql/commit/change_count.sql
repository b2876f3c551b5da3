-- Only over the row that the text was made for: whether it was is asserted behind it.
UPDATE assoc_count SET count = ?, version = ? WHERE id1 = ? AND atype = ? AND count = ? AND version = ?
