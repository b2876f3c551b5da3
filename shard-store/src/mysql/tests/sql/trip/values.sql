SELECT id, negative, time, atype, state, nonce, data FROM literal WHERE id = ?
