UPDATE `{database}_meta`.move_book SET version = version + 1, worker = '', lease_until = 0 WHERE id = ? AND worker = ?
