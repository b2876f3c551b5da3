SELECT COUNT(*) FROM literal WHERE id = ? AND negative <=> ? AND time = ? AND atype = ? AND state = ? AND nonce = ? AND data = ?
